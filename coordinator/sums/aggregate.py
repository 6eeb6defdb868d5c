"""The `tls` tier: adds the survivors' uploads into one aggregate file, tile by tile.

Its memory does not grow with the model (but for four bytes per block) or with the cohort. It
refuses, naming the worker, whatever no honest member can have sent.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from common.arrays import U32, ReadBytes
from common.chain import tiles
from common.checks import MAX_LOSS_2_20
from common.documents import Plan, SideValues
from common.errors import BadUpdateError
from common.ids import WorkerId
from common.schema import BLOCK
from common.shards import pack_energy, unpack_side_values
from common.terms import Terms
from coordinator.ports import Secrets


def aggregate(
    terms: Terms, uploads: Mapping[WorkerId, ReadBytes], write: Callable[[bytes], None]
) -> SideValues:
    """Write the aggregate in order of its bytes; return the summed side values.

    Args:
        terms: of the round.
        uploads: by survivor, (offset, length) -> bytes of its spooled payload.
        write: appends to the aggregate file.

    Raises:
        BadUpdateError: names the worker; what was written is to be thrown away.
    """
    survivors = sorted(uploads)
    side, energy = _sum_of_side_values(terms, survivors, uploads)  # first: they are small
    codec, layout = terms.codec, terms.layout
    for start, stop in tiles(0, layout.length):
        first, last = start // BLOCK, stop // BLOCK
        offset, num_bytes = (x * layout.block_bytes for x in (first, last - first))
        total = codec.total(last - first)
        for worker in survivors:
            with _blaming(worker):
                total = codec.add(total, uploads[worker](offset, num_bytes))
        write(codec.pack(total))
    write(pack_energy(energy))
    return side


def tls_sum(
    terms: Terms,
    _plan: Plan,
    _secrets: Secrets,
    uploads: Mapping[WorkerId, ReadBytes],
    write: Callable[[bytes], None],
) -> SideValues:
    """Do as `Summing` says: the uploads lie open."""
    return aggregate(terms, uploads, write)


def _sum_of_side_values(
    terms: Terms, survivors: list[WorkerId], uploads: Mapping[WorkerId, ReadBytes]
) -> tuple[SideValues, U32]:
    v = loss_2_20 = clipped = 0
    energy = np.zeros(terms.layout.num_blocks, np.uint32)
    for worker in survivors:
        content = uploads[worker](terms.layout.side_offset, terms.layout.side_bytes)
        with _blaming(worker):
            side, own_energy = unpack_side_values(content, terms.layout)
            _check_side_values(terms, worker, side, int(own_energy.max()))
        v, loss_2_20, clipped = v + side.v, loss_2_20 + side.loss_2_20, clipped + side.clipped
        energy += own_energy
    return SideValues(v, loss_2_20, clipped), energy


def _check_side_values(terms: Terms, worker: WorkerId, side: SideValues, energy: int) -> None:
    if side.v != terms.weights.v[worker]:
        raise BadUpdateError(f"V is {side.v}, its numbers give {terms.weights.v[worker]}")
    if side.loss_2_20 > MAX_LOSS_2_20:
        raise BadUpdateError(f"loss is {side.loss_2_20}/2**20 nats, at most {MAX_LOSS_2_20}")
    if side.clipped > (1 if terms.clip > 0 else 0):
        raise BadUpdateError(f"clipped is {side.clipped} while C is {terms.clip}")
    if energy > terms.scales.energy_cap:
        raise BadUpdateError(f"a block's energy is {energy}, at most {terms.scales.energy_cap}")


@contextmanager
def _blaming(worker: WorkerId) -> Iterator[None]:
    try:
        yield
    except BadUpdateError as e:
        raise BadUpdateError(f"{worker}: {e}", worker) from None
