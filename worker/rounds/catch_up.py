"""How a worker that was away catches up: in the fewest bytes.

    base --a--a--a--a--a--> head      the aggregate of every commit that it missed, or
            '--V--a--a----> head      a version on the way whole, and the aggregates after it

Versions hold several float32 vectors, aggregates one of integers: few missed commits are cheaper
step by step, many are not. Either way the same digests decide what is believed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from common.documents import Genesis, Record, Version
from common.ids import Digest
from common.outer import state_lengths
from common.schema import segments
from common.terms import num_scales

Has = Callable[[Digest], bool]
"""Says whether a file is here."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way over missed records.

    Args:
        whole: index of the record whose version is fetched whole; None = every step is taken.
        num_bytes: of what has to be fetched.
    """

    whole: int | None
    num_bytes: int


def ways(steps: Sequence[int | None], wholes: Mapping[int, int], *, behind: bool) -> list[Way]:
    """Return the ways that there are, the cheapest first; of equal ones, that of more steps.

    Args:
        steps: `step_bytes` of each record.
        wholes: `version_bytes` of records' versions, by index.
        behind: whether the files are missing from which the first step would be taken.
    """
    found = [] if behind or None in steps else [Way(None, _sum(steps))]
    for whole, num_bytes in sorted(wholes.items()):
        after = steps[whole + 1 :]
        if None not in after:
            found.append(Way(whole, num_bytes + _sum(after)))
    return sorted(found, key=lambda way: way.num_bytes)


def step_bytes(record: Record, has: Has) -> int | None:
    """Return what a record's step has to fetch; None for a roll-back: no step leads across it.

    It is what the record says. Whoever takes the step checks that against the layout's formula.
    """
    if record.rollback is not None:
        return None
    if (commit := record.commit) is None or has(commit.aggregate):
        return 0
    return commit.aggregate_bytes


def version_bytes(genesis: Genesis, version: Version, has: Has) -> int:
    """Return the bytes of a version's files that are not here, each file once."""
    schema, algorithm = genesis.schema, genesis.algorithm
    state = state_lengths(algorithm.outer, schema)
    vectors = (
        (version.theta, schema.length),
        *((files, state.get(name, 0)) for name, files in version.state.items()),
        (version.scales, num_scales(algorithm.codec, schema.num_blocks)),
    )
    sizes = {
        digest: 4 * (stop - start)
        for files, num in vectors
        for digest, (start, stop) in zip(files, segments(num), strict=False)
    }
    return sum(num_bytes for digest, num_bytes in sizes.items() if not has(digest))


def are_cheap(genesis: Genesis, steps: Sequence[int | None]) -> bool:
    """Return whether steps are fewer bytes than theta alone, so that no version need be asked for.

    A version that shares segments with the base may be less: that is not looked for.
    """
    return None not in steps and _sum(steps) <= 4 * genesis.schema.length


def _sum(steps: Sequence[int | None]) -> int:
    return sum(step for step in steps if step is not None)
