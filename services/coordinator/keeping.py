"""Which versions and aggregates stay on disk.

Kept: the head and the version before it; the last two snapshots (every so many commits), where
newcomers begin; every aggregate since the older of them, so that whoever stands on a version since
then catches up step by step. Everything else can go: records stay for ever, and are small.
"""

from common.ids import Digest
from services.coordinator.messages import Collect


class Keeping:
    """Folded from the log's commits, in order.

    Args:
        version0: digest of the first version.
        snapshot_every: commits between snapshots.
    """

    def __init__(self, version0: Digest, snapshot_every: int) -> None:
        self._snapshot_every = snapshot_every
        self._versions = {0: version0}
        self._records = {0: 0}
        self._aggregates: dict[int, Digest] = {}

    @property
    def start_seq(self) -> int:
        """The record that made the newest snapshot: there a newcomer begins, and has time."""
        return self._records[max(v for v in self._records if v % self._snapshot_every == 0)]

    def committed(self, version: int, digest: Digest, aggregate: Digest, seq: int) -> None:
        """Record `seq` of the log made `version`."""
        self._versions[version], self._records[version] = digest, seq
        self._aggregates[version] = aggregate
        newest = version - version % self._snapshot_every
        older = max(0, newest - self._snapshot_every)
        kept = {older, newest, version - 1, version}
        self._versions = {v: d for v, d in self._versions.items() if v in kept}
        self._records = {v: s for v, s in self._records.items() if v in kept}
        self._aggregates = {v: d for v, d in self._aggregates.items() if v > older}

    def collect(self) -> Collect:
        """Return the order to delete all else."""
        return Collect(tuple(self._versions.values()), tuple(self._aggregates.values()))
