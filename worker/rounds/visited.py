"""Which versions a worker stood on, by number: a roll-back to one of them can be believed.

A version that it only computed on the way to another is none of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Final

from common.documents import Record
from common.ids import Digest

MAX_KNOWN: Final = 256
"""Versions that it remembers to have stood on: a roll-back may reach as far."""


@dataclass(frozen=True, slots=True)
class Visited:
    """See the module docstring. A document: it is stored in the worker's manifest.

    Args:
        versions: number -> digest, of the newest ones.
    """

    versions: Mapping[str, Digest] = field(default_factory=dict)

    def standing_on(self, version: int, digest: Digest) -> "Visited":
        """Return what is known by a worker that stands on one more version."""
        versions = {**self.versions, str(version): digest}
        oldest_first = sorted(versions, key=int)
        kept = islice(oldest_first, max(0, len(versions) - MAX_KNOWN), None)
        return replace(self, versions={number: versions[number] for number in kept})

    def returns(self, record: Record) -> bool:
        """Return whether a record is a roll-back to a version that this worker stood on."""
        if record.rollback is None:
            return False
        return self.versions.get(str(record.rollback.version)) == record.digest
