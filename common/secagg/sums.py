"""Checks a published sum against its secret tags, which only the members of U2 can.

The aggregate of a masked round holds the sums of both tags of each shard. Its values lie there as
a member's do; its side values are put together again from the record and the sums of z_B.
"""

from collections.abc import Collection

from common.arrays import ReadBytes
from common.documents import SideValues
from common.errors import BadCommitError
from common.ids import WorkerId
from common.secagg.tags import Pads, Tagger, check_secret
from common.shards import PayloadLayout, pack_side_values, unpack_energy, unpack_tags


def check_aggregate(
    layout: PayloadLayout,
    side: SideValues,
    survivors: Collection[WorkerId],
    kappa: bytes,
    read_aggregate: ReadBytes,
) -> None:
    """Let a sum pass that is exactly what its survivors sent.

    Args:
        layout: of the round, with tags.
        side: as the commit says.
        survivors: as the commit says.
        kappa: of the attempt.
        read_aggregate: reads the aggregate file.

    Raises:
        BadCommitError: names the shard.
    """
    pads, tagger = Pads(kappa, survivors), Tagger(layout, (kappa,))
    energy_end = layout.data_bytes + layout.energy_bytes
    tags_bytes = layout.aggregate_bytes(len(survivors)) - energy_end
    content = read_aggregate(energy_end, tags_bytes)
    if len(content) != tags_bytes:
        raise BadCommitError("the aggregate's tags are cut short")
    energy = unpack_energy(read_aggregate(layout.data_bytes, layout.energy_bytes))
    section = pack_side_values(side, energy)
    for shard, (_, secret) in enumerate(unpack_tags(content, layout)):
        if shard < layout.num_data_shards:
            values = read_aggregate(*layout.shard(shard))
        else:
            values = section[layout.within_side_values(shard)]
        check_secret(tagger, pads, survivors, shard, values, secret)
