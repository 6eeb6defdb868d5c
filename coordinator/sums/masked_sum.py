"""The `masked` tier: adds the uploads, and takes the masks off their sum: never off one of them.

One shard at a time: its memory does not grow with the model (side values and tags do) or with the
cohort. What comes out is what `aggregate.py` makes of the same updates in the tls tier, and the
sums of the tags. It refuses a sum that does not match its public tags, naming the shard.
"""

from collections.abc import Callable, Mapping

import numpy as np

from common.arrays import U8, ReadBytes
from common.checks import MAX_LOSS_2_20
from common.documents import Plan, SideValues
from common.errors import BadUpdateError
from common.ids import WorkerId
from common.secagg.keys import MaskSecretKey, pair_seed, self_seed
from common.secagg.labels import Context
from common.secagg.masks import Masks, remaining_masks
from common.secagg.ring import Ring
from common.secagg.tags import MODULUS, Tagger, check_public
from common.secagg.transcript import mask_key_of
from common.shards import (
    SIDE_HEAD_BYTES,
    PayloadLayout,
    pack_energy,
    pack_tag_sums,
    unpack_side_values,
    unpack_tags,
)
from common.terms import Terms
from coordinator.ports import Secrets


def sum_masks(plan: Plan, secrets: Secrets) -> Masks:
    """Return what the survivors' masks sum up to."""
    context = Context(bytes.fromhex(secrets.context))
    own = {w: self_seed(bytes.fromhex(b), context, w).to_bytes() for w, b in secrets.own.items()}
    pairs = {
        lost: {
            w: pair_seed(
                MaskSecretKey(bytes.fromhex(key)), mask_key_of(plan, w), context, lost, w
            ).to_bytes()
            for w in own
        }
        for lost, key in secrets.lost.items()
    }
    return remaining_masks(Ring(plan.bits), own, pairs)


def masked_sum(
    terms: Terms,
    plan: Plan,
    secrets: Secrets,
    uploads: Mapping[WorkerId, ReadBytes],
    write: Callable[[bytes], None],
) -> SideValues:
    """Do as `Summing` says: the secrets take the masks off the sum.

    Raises:
        BadUpdateError: names the shard; what was written is to be thrown away.
    """
    layout, masks = terms.layout, sum_masks(plan, secrets)
    tagger = Tagger(layout, (bytes.fromhex(secrets.context),))
    tags = _summed_tags(layout, uploads, masks)
    content = _summed_side_values(layout, uploads, masks)
    for shard in layout.side_shards:
        check_public(tagger, shard, content[layout.within_side_values(shard)], tags[shard][0])
    side, energy = unpack_side_values(content, layout)
    most = len(uploads)
    _check(side.loss_2_20 <= most * MAX_LOSS_2_20, f"the losses sum up to {side.loss_2_20}")
    _check(side.clipped <= most, f"{side.clipped} of {most} updates are clipped")
    _check(
        int(energy.max()) <= most * terms.scales.energy_cap, "a block's energy is beyond its cap"
    )
    ring = Ring(layout.bits)
    for shard in range(layout.num_data_shards):
        offset, length = layout.shard(shard)
        words = ring.empty_sum(length)
        for read in uploads.values():
            ring.add_received(words, read(offset, length))
        masks.subtract(words, offset)
        payload = ring.payload(words)
        check_public(tagger, shard, payload, tags[shard][0])
        write(payload)
    write(pack_energy(energy))
    write(pack_tag_sums(tags))
    return side


def _summed_tags(
    layout: PayloadLayout, uploads: Mapping[WorkerId, ReadBytes], masks: Masks
) -> list[tuple[int, ...]]:
    sums = [(0, 0)] * layout.num_tagged
    for read in uploads.values():
        own = unpack_tags(read(layout.tags_offset, layout.tags_bytes), layout)
        sums = [
            ((a + c) % MODULUS, (b + d) % MODULUS) for (a, b), (c, d) in zip(sums, own, strict=True)
        ]
    return [masks.subtract_tags(shard, pair) for shard, pair in enumerate(sums)]


def _summed_side_values(
    layout: PayloadLayout, uploads: Mapping[WorkerId, ReadBytes], masks: Masks
) -> bytes:
    total: U8 = np.zeros(layout.side_bytes, np.uint8)
    head, tail = total[:SIDE_HEAD_BYTES].view("<u8"), total[SIDE_HEAD_BYTES:].view("<u4")
    for read in uploads.values():
        own = np.frombuffer(read(layout.side_offset, layout.side_bytes), np.uint8)
        head += own[:SIDE_HEAD_BYTES].view("<u8")
        tail += own[SIDE_HEAD_BYTES:].view("<u4")
    for shard in layout.side_shards:
        part = layout.within_side_values(shard)
        masks.subtract_side_values(total[part], part.start)
    return total.tobytes()


def _check(holds: bool, complaint: str) -> None:
    if not holds:
        raise BadUpdateError(f"{complaint}: a member is broken; the round has to be aborted")
