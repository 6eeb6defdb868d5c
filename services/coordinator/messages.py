"""What the control process says to its two children, bulk and commit, one JSON line per message.

Both children are stateless but for files: whatever they are told can be told again after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from common.documents import Commit, Numbers, Plan
from common.ids import Digest, RoundId, WorkerId
from coordinator.ports import Secrets

# control -> bulk --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenRound:
    """Take uploads of `members`; `bits` and `fragment` fix the payload's layout."""

    round: RoundId
    members: tuple[WorkerId, ...]
    bits: int
    fragment: int


@dataclass(frozen=True, slots=True)
class SealRound:
    """Take no more; answer `RoundSealed`."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class DropRound:
    """Delete the round's uploads."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class Drain:
    """Let no download in any more; answer `Drained`."""


# bulk -> control --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving:
    """The bulk port is open."""

    port: int


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """Uploads of the round are taken from now on."""

    round: RoundId


@dataclass(frozen=True, slots=True)
class UploadAdvanced:
    """Bytes of an upload arrived since the last word of it; at most a few a second."""

    worker: WorkerId


@dataclass(frozen=True, slots=True)
class UploadCompleted:
    """Every shard of a member's payload is in the spool."""

    worker: WorkerId
    round: RoundId


@dataclass(frozen=True, slots=True)
class RoundSealed:
    """S, sorted."""

    round: RoundId
    survivors: tuple[WorkerId, ...]


@dataclass(frozen=True, slots=True)
class Carried:
    """Bytes on the wire since the last such message, by worker."""

    received: Mapping[str, int]
    sent: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Drained:
    """After `Drain`: no upload or download is open."""


# control -> commit ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TakeOver:
    """The first order, once this leader's takeover is in the log: bar all earlier ones' way.

    Args:
        epoch: seq of the takeover record.
    """

    epoch: int


@dataclass(frozen=True, slots=True)
class ComputeVersion:
    """Sum the survivors' payloads onto `plan.digest`; answer `VersionComputed` or `-Failed`.

    Args:
        secrets: what the tier's way of adding up needs (`coordinator/sums`).
        signatures: what the commit's field of that name will be.
    """

    plan: Plan
    numbers: Mapping[WorkerId, Numbers]
    survivors: tuple[WorkerId, ...]
    secrets: Secrets = field(default_factory=Secrets)
    signatures: Mapping[WorkerId, str] | None = None


@dataclass(frozen=True, slots=True)
class RestoreVersion:
    """Replay `commits` on a kept version; answer `VersionRestored` or `RestoreRefused`.

    Args:
        version: number of what comes out.
        digest: of it.
        base: digest of the kept version.
    """

    version: int
    digest: Digest
    base: Digest
    commits: tuple[Commit, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Delete every data file but those of `versions`, and `files`."""

    versions: tuple[Digest, ...]
    files: tuple[Digest, ...]


# commit -> control ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TookOver:
    """No earlier leader can delete a data file any more; so many that it meant to are back."""

    num_files: int


@dataclass(frozen=True, slots=True)
class VersionComputed:
    """The new version's files are durable.

    Args:
        step_length: euclidean length of the step in theta.
        seconds: spent.
        sum_s: of these, on the sum, masks taken off.
        saturation: expected share of values clipped in the sum; None where nothing is clipped.
    """

    commit: Commit
    digest: Digest
    step_length: float
    seconds: float
    sum_s: float
    saturation: float | None = None


@dataclass(frozen=True, slots=True)
class VersionFailed:
    """No version came of it; `reason` is an AbortReason's value, `blamed` a worker where known."""

    round: RoundId
    reason: str
    detail: str
    blamed: WorkerId | None = None


@dataclass(frozen=True, slots=True)
class VersionRestored:
    """The files of an earlier version are complete and durable."""

    version: int
    digest: Digest
    commits: int


@dataclass(frozen=True, slots=True)
class RestoreRefused:
    """They cannot be made complete."""

    version: int
    detail: str


@dataclass(frozen=True, slots=True)
class Collected:
    """So many bytes are free again."""

    freed_bytes: int
