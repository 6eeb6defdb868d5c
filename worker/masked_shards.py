"""One member's shards as the masked tier sends them: tagged, then hidden.

It takes the shards that `worker/update.py` makes, and adds the tags section. Nothing of a shard is
kept once it is masked.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from common.ids import WorkerId
from common.secagg.masks import Masks
from common.secagg.ring import Ring
from common.secagg.tags import Pads, Tagger, member_tags
from common.shards import PayloadLayout, Piece, cut, pack_tags


def masked_shards(
    layout: PayloadLayout,
    shards: Iterable[Piece],
    worker: WorkerId,
    masks: Masks,
    tagger: Tagger,
    pads: Pads,
) -> Iterator[bytes]:
    """Yield what is sent, shard by shard.

    Args:
        layout: of the round, with tags.
        shards: of values and lanes, in order, as the tls tier would send them.
        worker: this member's name.
        masks: of this member and this attempt; they are used up.
        tagger: of the public seed and kappa.
        pads: of the attempt.
    """
    ring, tags = Ring(layout.bits), list[tuple[int, ...]]()
    for index, content in enumerate(shards):
        own = member_tags(tagger, pads, worker, index, content)
        tags.append(masks.add_tags(index, own))
        if index < layout.num_data_shards:
            words = ring.words(content)
            masks.add(words, layout.shard(index)[0])
            yield ring.sent(words)
        else:
            lanes = np.frombuffer(content, np.uint8).copy()
            masks.add_lanes(lanes, layout.shard(index)[0] - layout.lanes_offset)
            yield lanes.tobytes()
    yield from cut(pack_tags(tags, layout), layout)
