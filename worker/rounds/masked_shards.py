"""One member's shards as the masked tier sends them: tagged, then hidden.

It takes the shards that `update.py` makes, and adds the tags section. Shards that can be
written are masked where they lie; nothing of a shard is kept once it is masked.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from common.ids import WorkerId
from common.secagg.masks import Masks
from common.secagg.ring import Ring
from common.secagg.tags import Pads, Tagger, member_tags
from common.shards import PayloadLayout, ShardBytes, cut, pack_tags


def masked_shards(
    layout: PayloadLayout,
    shards: Iterable[ShardBytes],
    worker: WorkerId,
    masks: Masks,
    tagger: Tagger,
    pads: Pads,
) -> Iterator[ShardBytes]:
    """Yield what is sent, shard by shard.

    Args:
        layout: of the round, with tags.
        shards: of values and side values, in order, as the tls tier would send them; overwritten.
        worker: this member's name.
        masks: of this member and this attempt; they are used up.
        tagger: of the public seed and kappa.
        pads: of the attempt.
    """
    ring, tags = Ring(layout.bits), list[tuple[int, ...]]()
    for index, content in enumerate(shards):
        if index in layout.side_shards:
            own = member_tags(tagger, pads, worker, index, content)
            side = np.frombuffer(content, np.uint8).copy()
            masks.add_side_values(side, layout.within_side_values(index).start)
            masked: ShardBytes = side.tobytes()
        else:
            in_place = ring.in_place and isinstance(content, bytearray)
            words = np.frombuffer(content, ring.word) if in_place else ring.words(content)
            own = member_tags(tagger, pads, worker, index, content, words)
            masks.add(words, layout.shard(index)[0])
            masked = content if in_place else ring.sent(words)
        tags.append(masks.add_tags(index, own))
        yield masked
    yield from cut(pack_tags(tags, layout), layout)
