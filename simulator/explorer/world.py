"""What is the same in all that is explored: the run, who is who, and what names a model or a sum.

Keys, signatures, shares and every rule are the product's. Arrays are symbols: a version's files and
a sum are named by what they were made of, so a sum can be true without one number being added.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from common import canonical
from common.documents import (
    Algorithm,
    Commit,
    Genesis,
    Numbers,
    Plan,
    Record,
    SideValues,
    Stop,
    Version,
)
from common.errors import NotAMemberError
from common.ids import Digest, WorkerId
from common.log_head import LogHead
from common.parties import Party
from common.progress import next_counters, progress
from common.schema import ModelSchema, TensorSpec
from common.secagg import signatures
from common.secagg.labels import SignedPurpose
from common.terms import round_bits, round_fragment
from simulator.drawn import identity_key, party_of

WORKERS: Final = tuple(WorkerId(w) for w in ("a", "b", "c", "d", "e"))
INVENTED: Final = (WorkerId("x"), WorkerId("y"))
"""Members that only the coordinator knows: it holds their keys, and no worker admits them."""
INSIDER: Final = WorkerId("z")
"""A member that is admitted, and whose keys are none."""
STEPS: Final = 20
"""Local steps of one piece of work, H."""
TIMEOUT_S: Final = 1.0
_SUM_BYTES: Final = 4096


def _named(*parts: object) -> Digest:
    return canonical.digest_of("/".join(map(str, parts)).encode())


def _first() -> tuple[Genesis, Version]:
    version = Version((_named("theta"),), {}, (_named("scales"),), 0.0, 0)
    algorithm = Algorithm(
        tier="masked", min_cohort=3, clipping=False, max_staleness=1.0, local_steps=STEPS
    )
    schema = ModelSchema((TensorSpec("w", (1000,)),))
    digest = canonical.digest(version)
    return Genesis("explored", 1, "", {}, schema, digest, algorithm, Stop(versions=100)), version


GENESIS, VERSION0 = _first()


def most_share(*, is_lenient: bool) -> float:
    """Return how much of a sum a worker's own file lets one member be.

    Args:
        is_lenient: the run lets it be more, which rule 1 would refuse at once.
    """
    return 0.5 if is_lenient else GENESIS.algorithm.max_share


@functools.cache
def sign(name: str, purpose: SignedPurpose, content: bytes) -> bytes:
    """Return what a name's key makes of this."""
    return signatures.sign(identity_key(name), purpose, content)


def admits(der: bytes) -> Party:
    """Return whose certificate it is, as every worker's pins have it."""
    party = party_of(der)
    if party.name not in (*WORKERS, INSIDER):
        raise NotAMemberError(f"{party.name} is pinned by nobody")
    return party


def operators(der: bytes) -> Party:
    """Admit nobody: no operator orders anything here."""
    raise NotAMemberError("nobody is an operator")


def numbers(steps: int, age_256: int) -> Numbers:
    """Return those of work of so many steps, whose mean age is this."""
    return Numbers(100 * steps, 1e-3 * steps, age_256, 65535, steps, steps)


# Models and sums, by name ---------------------------------------------------------------------


@dataclass
class Models:
    """Every version that anybody has named so far; the files of all of them are the coordinator's.

    Args:
        versions: by digest.
        made: the commit that a version comes from, by its digest.
    """

    versions: dict[Digest, Version]
    made: dict[Digest, Commit] = field(default_factory=dict)

    def after(self, base: Digest, commit: Commit) -> Digest:
        """Return the version that a commit makes of a base."""
        before, name = self.versions[base], _named("theta", base, canonical.digest(commit))
        version = replace(before, theta=(name,), commits=before.commits + 1)
        digest = canonical.digest(version)
        self.versions[digest], self.made[digest] = version, commit
        return digest


MODELS: Final = Models({GENESIS.version0: VERSION0})


def true_sum(plan: Plan, kappa: str, survivors: tuple[WorkerId, ...]) -> Digest:
    """Return the name of what these members sent in a round, each under this kappa's tags."""
    return _named("sum", canonical.digest(plan), kappa, *survivors)


def made_up_sum(plan: Plan) -> Digest:
    """Return the name of what no member sent."""
    return _named("made up", canonical.digest(plan))


def commit_of(
    plan: Plan,
    told: Mapping[WorkerId, Numbers],
    survivors: tuple[WorkerId, ...],
    aggregate: Digest,
    signed: Mapping[WorkerId, str] | None = None,
) -> Commit:
    """Return the commit of a round, with the numbers that were told of it."""
    side = SideValues(0, 0, 0)
    return Commit(plan, told, survivors, side, aggregate, _SUM_BYTES, signed)


def record_after(head: LogHead, **body: object) -> Record:
    """Return the next record of a log, chained and counted as it must be."""
    version, digest = head.version, head.digest
    counters, made, rolled_back = head.counters, head.progress, head.rolled_back
    if isinstance(commit := body.get("commit"), Commit):
        version, digest = version + 1, MODELS.after(digest, commit)
        counters = next_counters(GENESIS, counters, commit, counters.elapsed_s)
        made = progress(GENESIS, version, counters.tokens, commit.plan.hours)
    if (rollback := body.get("rollback")) is not None:
        version, digest = version + 1, Digest(str(body.pop("digest")))
        rolled_back = head.next_seq
        assert rollback is not None
    seq = head.next_seq
    told = (seq, head.previous, 0, 0, version, digest, made, counters, rolled_back)
    return Record(*told, **body)  # type: ignore[arg-type]


def bits_at(base: Digest) -> tuple[int, int]:
    """Return fragment and bits of a round on a base."""
    codec, commits = GENESIS.algorithm.codec, MODELS.versions[base].commits
    return round_fragment(codec, commits), round_bits(codec, commits)
