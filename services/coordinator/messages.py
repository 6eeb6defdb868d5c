"""What the control process and its two children say to each other besides the core's words.

The core's own effects and events about uploads and sums (`coordinator/ports.py`: `OpenSpool`,
`Compute`, ...; `Uploaded`, `Computed`, ...) go down the line as they are, one JSON line each; here
stands only what the core does not know of. Both children are stateless but for files: whatever they
are told can be told again after a restart.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from common.documents import Commit
from common.ids import Digest

# control -> bulk --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Drain:
    """Let no download in any more; answer `Drained`."""


# bulk -> control --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Serving:
    """The bulk port is open."""

    port: int


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
class RestoreVersion:
    """Replay `commits` on a kept version; answer `Restored` or `RestoreFailed`.

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
class Summed:
    """What a version cost, said before the `Computed` of it.

    Args:
        num_survivors: whose updates are in it.
        step_length: euclidean length of the step in theta.
        seconds: spent.
        sum_s: of these, on the sum, masks taken off.
        saturation: expected share of values clipped in the sum; None where nothing is clipped.
    """

    num_survivors: int
    step_length: float
    seconds: float
    sum_s: float
    saturation: float | None = None


@dataclass(frozen=True, slots=True)
class Collected:
    """So many bytes are free again."""

    freed_bytes: int
