"""Made-up updates of any size, which an honest worker could have sent."""

from typing import Final

import numpy as np

from common.documents import SideValues
from common.scales import levels
from common.shards import SHARD_BYTES, PayloadLayout, pack_side_values
from tests.rig.workers.light_worker import LightWorker

_SEVEN_PAGES: Final = 7 * 4096


class MadeUpPayload:
    """Random values that an honest member could have sent; no two shards are alike.

    Args:
        layout: of the payload.
        codec: "dense" (8 bits) or "float32".
        num_members: of the cohort.
        v: V of the worker's side values.
    """

    def __init__(self, layout: PayloadLayout, codec: str, num_members: int, v: int) -> None:
        self._layout = layout
        draw = np.random.default_rng(layout.length)
        num_bytes = 8 * SHARD_BYTES
        if codec == "float32":
            values = draw.standard_normal(num_bytes // 4, np.float32) * np.float32(0.01)
            self._pool = values.tobytes()
        else:
            assert layout.bits == 8
            most = levels(8, num_members)
            self._pool = draw.integers(-most, most, num_bytes, np.int8, endpoint=True).tobytes()
        energy = np.full(layout.num_blocks, 256, np.uint32)
        self._side = pack_side_values(SideValues(v, 0, 0), energy)

    def read_shard(self, index: int) -> bytes:
        """Return the bytes of one shard."""
        if index in self._layout.side_shards:
            return self._side[self._layout.within_side_values(index)]
        _, length = self._layout.shard(index)
        at = index * _SEVEN_PAGES % (len(self._pool) - SHARD_BYTES)
        return self._pool[at : at + length]


def contribute(worker: LightWorker) -> None:
    """Offer, wait for the plan, and upload; returns once the coordinator has every shard."""
    worker.offer()
    plan = worker.receive_plan()
    worker.answer(plan)
    worker.receive("members")
    codec = worker.genesis.algorithm.codec.kind
    payload = MadeUpPayload(worker.layout(plan), codec, len(plan.offers), v=65535)
    worker.upload(plan, payload.read_shard)
