"""The documents that every process reads alike: genesis, versions, offers, plans, log records.

All are frozen dataclasses with one canonical encoding (`common/canonical.py`): they are hashed,
stored and sent as those bytes. docs/protocol.md gives each field's meaning in a round, and
`common/constants.py` that of each constant of the algorithm; the formulas behind the numbers are in
`common/weight/` and `common/outer/`. It is long because every document of the protocol stands
on this one page.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from common.canonical import Json
from common.ids import Digest, RoundId, WorkerId
from common.schema import ModelSchema

PROTOCOL: Final = 6
"""The number in `Join` and in a genesis. It goes up when an older program could misread a newer
one, or a document changes."""

TIERS: Final = ("tls", "masked")
"""Privacy tiers that this version implements, the weakest first."""


# What a run is -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Codec:
    """How updates lie on the wire."""

    kind: str = "dense"
    bits: int = 8
    first_bits: int = 16
    one_in: int = 1
    step_multiple: float = 3.5
    residual_decay: float = 0.9


@dataclass(frozen=True, slots=True)
class Weighting:
    """What a member counts by, beside its tokens."""

    policy: str = "none"
    halving: float = 0.04
    bandwidth_exponent: float = 0.0


@dataclass(frozen=True, slots=True)
class Gate:
    """When a member keeps its own update back. 0 = never."""

    own_loss: float = 0.0
    norm: float = 0.0


@dataclass(frozen=True, slots=True)
class Outer:
    """The outer optimiser."""

    kind: str = "nesterov"
    learning_rate: float = 0.6
    momentum: float = 0.8
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup: int = 0
    floor: float = 0.1


@dataclass(frozen=True, slots=True)
class Schedule:
    """The inner learning rate on the public clock."""

    peak: float = 2e-3
    warmup_steps: int = 40
    floor: float = 0.1
    horizon_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """When the run ends: the first limit reached. 0 = no such limit."""

    versions: int = 0
    tokens: int = 0
    hours: float = 0.0
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Algorithm:
    """Every constant that decides what a round computes. All is under the genesis hash."""

    policy: str = "async"
    max_cohort: int = 8
    quorum: float = 0.75
    tier: str = "masked"
    min_cohort: int = 3
    colluding: int = 0
    normalisation: str = "normalised"
    staleness: str = "poly"
    staleness_exponent: float = 0.5
    max_staleness: float = 8.0
    max_share: float = 0.6
    max_policy_factor: float = 1.0
    clipping: bool = True
    local_steps: int = 20
    min_local_steps: int = 5
    weighting: Weighting = field(default_factory=Weighting)
    update: str = "parameters"
    gradient_unit: float = 0.0
    rounds_ahead: int = 8
    deadline_s: float = 0.0
    prox: float = 0.0
    robust: str = "none"
    assumed_faulty: int = 0
    gate: Gate = field(default_factory=Gate)
    codec: Codec = field(default_factory=Codec)
    outer: Outer = field(default_factory=Outer)
    schedule: Schedule = field(default_factory=Schedule)

    @property
    def masked(self) -> bool:
        """Whether the coordinator sees sums only."""
        return self.tier != "tls"


@dataclass(frozen=True, slots=True)
class Genesis:
    """What a run is, before its first step. Its digest is the identity that every process pins.

    Args:
        run: the run's name.
        seed: of the initial parameters and of the rotation's signs.
        learner: "package.module:build", what each worker trains with.
        settings: the learner's own settings: model, tokenizer, batch, inner optimiser.
        schema: layout of the model.
        version0: digest of the first version.
        validation: of the shard on which a loss policy measures; "" = there is no such policy.
        protocol: of the program that began the run.
    """

    run: str
    seed: int
    learner: str
    settings: Mapping[str, Json]
    schema: ModelSchema
    version0: Digest
    algorithm: Algorithm
    stop: Stop
    validation: str = ""
    protocol: int = PROTOCOL


# What a version is ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Version:
    """Content of one version; its canonical digest is the version's digest.

    All arrays are little-endian float32; each is a tuple of the digests of its segments.

    Args:
        theta: parameters and buffers, [schema.length].
        state: of the outer optimiser, by name: like theta, or [schema.num_blocks]
            (`common/outer/` says which).
        scales: R_B, [schema.num_blocks].
        clip: C, in units of one summed learning rate; a float32; 0 while it is off.
        commits: commits since genesis, C's age.
    """

    theta: tuple[Digest, ...]
    state: Mapping[str, tuple[Digest, ...]]
    scales: tuple[Digest, ...]
    clip: float
    commits: int

    def blobs(self) -> tuple[Digest, ...]:
        """Return every file that the version consists of."""
        kept = (digest for name in sorted(self.state) for digest in self.state[name])
        return (*self.theta, *kept, *self.scales)


# One round -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OfferKeys:
    """The keys of one offer, in the masked tier.

    Args:
        sealing: X25519 public key of what is sealed for this worker, 64 hexadecimal digits.
        masking: X25519 public key of its masks; another one, since this secret may be revealed.
        certificate: of the identity that signs, base64 of its DER.
    """

    sealing: str
    masking: str
    certificate: str


@dataclass(frozen=True, slots=True)
class Offer:
    """A worker's word that an update is ready. No tensor, no loss.

    Args:
        boot: drawn when the worker's link process started: 16 hexadecimal digits.
        nonce: drawn for this offer, 32 hexadecimal digits; an offer is used once.
        version: the newest version that the worker stands on.
        digest: of that version.
        tokens: uncommitted tokens; numbers of an offer only help to decide when to close.
        lr_sum: A, sum of inner learning rates over the uncommitted steps.
        age_256: tau in 1/256 commits.
        steps: uncommitted local steps.
        speed: measured training speed, tokens per second, at least 1.
        link_bps: measured upload speed in bits per second; 0 = not measured yet.
        keys: in the masked tier.
        signature: in the masked tier, hexadecimal, over this document without it.
    """

    run: str
    worker: WorkerId
    boot: str
    nonce: str
    version: int
    digest: Digest
    tokens: int
    lr_sum: float
    age_256: int
    steps: int
    speed: int
    link_bps: int
    keys: OfferKeys | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """One closed cohort: from here on the set of members is known.

    Args:
        version: base of the round: number and digest of the head.
        fragment: of a cyclic codec: which; 0 for every other.
        bits: ring width of this round (`Codec.bits`, or `first_bits` in the first ones).
        threshold: t, fewest survivors.
        live_speed: summed speed of all live members, at least the roster's sum.
        num_live: live members, at least the roster's count.
        hours: hours since the run began.
        key_timeout_s: seconds for each exchange of small messages.
        upload_timeout_s: seconds for the upload.
        offers: the roster's offers, sorted by worker.
        progress: for an outer schedule: that of the record that made the base the head; a float32.
    """

    run: str
    round: RoundId
    tier: str
    version: int
    digest: Digest
    fragment: int
    bits: int
    threshold: int
    live_speed: int
    num_live: int
    hours: float
    key_timeout_s: float
    upload_timeout_s: float
    offers: tuple[Offer, ...]
    progress: float = 0.0

    @property
    def roster(self) -> tuple[WorkerId, ...]:
        """The members' names, sorted."""
        return tuple(o.worker for o in self.offers)

    @property
    def masked(self) -> bool:
        """Whether the coordinator sees sums only."""
        return self.tier != "tls"


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers at close, over the local steps since the worker's last contribution.

    Args:
        tokens: tokens trained on.
        lr_sum: A, sum of inner learning rates.
        age_256: tau, token-weighted mean age of the steps, in 1/256 commits.
        staleness_65535: s(tau) in 1/65535, at least 1.
        steps: local steps.
        samples: sequences trained on.
        size: bytes of training data; 0 unless the weighting asks: it must not leak by habit.
        link_mbps: measured upload speed; likewise.
    """

    tokens: int
    lr_sum: float
    age_256: int
    staleness_65535: int
    steps: int
    samples: int
    size: int = 0
    link_mbps: float = 0.0


@dataclass(frozen=True, slots=True)
class Commitments:
    """What a member's two round secrets must match later: 64 hexadecimal digits each.

    Args:
        own: of b_i, which its own mask follows from.
        common: of kappa_i, its part of what only members know.
    """

    own: str
    common: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a member says once the cohort is closed.

    Args:
        plan: digest of the plan that it answers.
        commitments: in the masked tier.
        signature: in the masked tier, hexadecimal, over this document without it.
    """

    plan: Digest
    worker: WorkerId
    numbers: Numbers
    commitments: Commitments | None = None
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Attestation:
    """A member's word: what its round made is this version, which it checked itself.

    Args:
        genesis: digest of the run's genesis.
        plan: digest of the round's plan; the key that signs is that of the member's offer in it.
        version: the number that the version has in the log.
        digest: of that version.
        state: digest of the `RunState` after the record: who skips records has it from nobody else.
        signature: hexadecimal, over this document without it.
    """

    genesis: Digest
    plan: Digest
    worker: WorkerId
    version: int
    digest: Digest
    state: Digest
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class SideValues:
    """Sums over the survivors of what each sends beside its values: never one member's.

    Args:
        v: sum of V, the weights without staleness.
        loss_2_20: sum of training losses in nats times 2**20.
        clipped: how many updates the federation's C clipped.
    """

    v: int
    loss_2_20: int
    clipped: int


# The log ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class WorkerCounters:
    """What one worker contributed so far: cumulative."""

    contributions: int = 0
    tokens: int = 0
    steps: int = 0
    age_256: int = 0


@dataclass(frozen=True, slots=True)
class Counters:
    """What the run did so far: cumulative, so that the last record tells all.

    Args:
        tokens: in committed updates.
        steps: local steps in committed updates.
        member_steps_256: sum over commits of steps of S / live members, in 1/256.
        elapsed_s: seconds that the run was led.
        payload_bytes: upload payloads of survivors.
        float32_bytes: what those payloads stand for.
    """

    tokens: int = 0
    steps: int = 0
    member_steps_256: int = 0
    elapsed_s: int = 0
    payload_bytes: int = 0
    float32_bytes: int = 0
    workers: Mapping[str, WorkerCounters] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Commit:
    """Enough to replay one step from its parent and the aggregate file.

    Args:
        numbers: of U2.
        survivors: S, sorted.
        aggregate: digest of the integer aggregate file.
        aggregate_bytes: its size.
        signatures: in the masked tier, where S is not U2: who signed S, hexadecimal.
    """

    plan: Plan
    numbers: Mapping[WorkerId, Numbers]
    survivors: tuple[WorkerId, ...]
    side_values: SideValues
    aggregate: Digest
    aggregate_bytes: int
    signatures: Mapping[WorkerId, str] | None = None


@dataclass(frozen=True, slots=True)
class Abort:
    """A round that ended without a step.

    Args:
        reason: an AbortReason's value.
        abandons: in the masked tier: signatures of the members that will never reveal a share of
            it, hexadecimal. Enough of them free the roster's work.
    """

    round: RoundId
    roster: tuple[WorkerId, ...]
    reason: str
    detail: str
    abandons: Mapping[WorkerId, str] | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluator measured on the shared validation shard, and signed.

    Args:
        genesis: digest of the run's genesis.
        version: its number.
        digest: of that version.
        loss: mean nats per token.
        accuracy: share of next tokens that got the highest score.
        perplexity: exp(loss).
        certificate: of the identity that signs, base64 of its DER.
        signature: hexadecimal, over this document without it.
    """

    genesis: Digest
    version: int
    digest: Digest
    loss: float
    accuracy: float
    perplexity: float
    tokens: int
    certificate: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class Control:
    """An operator's command, or the run's end ("stop" by "limit")."""

    action: str
    by: str
    detail: str


@dataclass(frozen=True, slots=True)
class RollbackOrder:
    """An operator's signed word that an earlier version is to be the head again. Good for once.

    Args:
        genesis: digest of the run's genesis.
        version: its number.
        digest: of that version: no other state may return under its number.
        num_records: length of the log as the operator saw it; the roll-back before this one, if
            there was any, is older.
        certificate: of the identity that signs, base64 of its DER.
        signature: hexadecimal, over this document without it.
    """

    genesis: Digest
    version: int
    digest: Digest
    num_records: int
    certificate: str
    signature: str | None = None


@dataclass(frozen=True, slots=True)
class RunState:
    """What a record says of the run besides its version, and that follows from the log.

    Args:
        counters: after the record, `elapsed_s` as 0: that is the coordinator's own.
        progress: after the record.
        rolled_back: as in the record.
    """

    counters: Counters
    progress: float
    rolled_back: int


@dataclass(frozen=True, slots=True)
class Origin:
    """The round that once made a version, and its members' words for it.

    Args:
        plan: of that round.
        version: the number that the version got.
        state: as its members' words name it.
        words: signatures of `Attestation`s, hexadecimal.
    """

    plan: Plan
    version: int
    state: Digest
    words: Mapping[WorkerId, str]


@dataclass(frozen=True, slots=True)
class Rollback:
    """The whole state of an earlier version is the head again, under a new number.

    Args:
        version: whose state returned; the record's digest is that version's.
        commits: its `Version.commits`: the count that ring widths follow from.
        by: who asked.
        order: in the masked tier: what whoever asked has signed.
        origin: in the masked tier: why the state can be believed by who never stood on it; None
            where it is version 0.
    """

    version: int
    commits: int
    by: str
    order: RollbackOrder | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Takeover:
    """A coordinator began to lead. The record's seq is its epoch."""

    leader: str


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the commit log. Exactly one of the last six fields is set: its kind.

    Args:
        seq: position in the log, from 0, without gaps.
        previous: SHA-256 of the previous record's bytes; of the genesis bytes at seq 0.
        epoch: seq of the newest takeover.
        time_s: Unix time, for people only.
        version: the head after this record: number, digest.
        progress: of the run, in [0, 1], after this record; a float32.
        counters: after this record.
        rolled_back: seq of the newest roll-back's record, this one included; -1 = there was none.
        words: in the masked tier: signatures of `Attestation`s, hexadecimal, about the newest
            commit before this record, those that no record before it holds.
    """

    seq: int
    previous: Digest
    epoch: int
    time_s: int
    version: int
    digest: Digest
    progress: float
    counters: Counters
    rolled_back: int = -1
    words: Mapping[WorkerId, str] | None = None
    takeover: Takeover | None = None
    commit: Commit | None = None
    abort: Abort | None = None
    evaluation: Evaluation | None = None
    control: Control | None = None
    rollback: Rollback | None = None
