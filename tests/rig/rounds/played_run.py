"""What is outside one worker: a coordinator that may lie, its log, and the round's other members.

Rules, keys, shares, signatures, counters and progress are real, and all follow from names; versions
and sums are made up: documents that name files which nobody has. `fork` begins a log of the
coordinator's own, and `truth` ends it. Whatever a plan, an answer or a record is to say wrongly is
an option, which its method lists. It is long because all that may be said wrongly stands here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from common import canonical
from common.documents import (
    Abort,
    Algorithm,
    Answer,
    Attestation,
    Commit,
    Control,
    Numbers,
    Offer,
    Origin,
    Plan,
    Record,
    RollbackOrder,
    SideValues,
    Takeover,
    Version,
)
from common.errors import NotAMemberError
from common.ids import Digest, RoundId, WorkerId
from common.parties import Party
from common.schema import ModelSchema, TensorSpec
from common.secagg.transcript import abandon_content, list_content, signed_content
from common.terms import round_layout
from common.words import run_state
from simulator.drawn import certificate
from tests.rig.rounds import masked_members
from tests.rig.rounds.masked_members import Cloud, measured, order, signer, word
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import NUMBERS, Run

SCHEMA = ModelSchema((TensorSpec("w", (64, 64)),))
ME = WorkerId("aws")
OPERATOR = "ann"
OTHERS = tuple(WorkerId(w) for w in ("azure", "gcp", "onprem"))
NOBODYS = Digest("f" * 64)

Options = Mapping[str, str]
Answers = dict[WorkerId, Answer]
Sealed = dict[WorkerId, bytes]


@dataclass
class PlayedRun(Coordinator):
    """See the module docstring. `records` are the log that the worker is shown.

    Args:
        me: the worker that is not played here.
        strangers: who holds a certificate and is no member.
        organisations: of whom it is not the name.
        plan: of the newest round, as its other members know it.
    """

    me: WorkerId = ME
    strangers: frozenset[str] = frozenset()
    organisations: Options = field(default_factory=dict)
    states: dict[int, Version] = field(default_factory=dict)
    clouds: dict[str, Cloud] = field(default_factory=dict)
    num_offers: dict[str, int] = field(default_factory=dict)
    num_plans: int = 0
    plan: Plan | None = None
    told: dict[WorkerId, tuple[Answer, Sealed]] = field(default_factory=dict)
    u2: tuple[WorkerId, ...] = ()
    true_log: tuple[list[Record], int, dict[int, Version]] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.states[0] = self.run.version
        self.append(takeover=Takeover("c1"))

    @classmethod
    def of(cls, algorithm: Algorithm, o: Options) -> "PlayedRun":
        """Return a run with no round yet."""
        prefix = "organisation."
        organisations = {k.removeprefix(prefix): v for k, v in o.items() if k.startswith(prefix)}
        strangers = frozenset(filter(None, o.get("strangers", "").split(",")))
        return cls(Run(algorithm, SCHEMA), strangers=strangers, organisations=organisations)

    @property
    def id(self) -> Digest:
        """What names the run."""
        return canonical.digest(self.run.genesis)

    def admits(self, der: bytes) -> Party:
        """Say whose certificate it is, of a worker that is pinned."""
        party = masked_members.admits(der)
        if party.name in self.strangers:
            raise NotAMemberError(f"{party.name} is not pinned")
        name = str(party.name)
        return replace(party, organisation=self.organisations.get(name, name))

    def operators(self, der: bytes) -> Party:
        """Say whose certificate it is, of an operator."""
        party = masked_members.admits(der)
        if party.name != OPERATOR:
            raise NotAMemberError(f"{party.name} is no operator of run {self.run.genesis.run}")
        return party

    # Forks --------------------------------------------------------------------------------------

    def fork(self) -> None:
        """From here on the log is of the coordinator's own making."""
        self.true_log = list(self.records), self.number, dict(self.states)

    def truth(self) -> None:
        """Show the true log again."""
        assert self.true_log is not None, "nothing is forked"
        records, self.number, states = self.true_log
        self.records[:], self.states, self.true_log = records, states, None
        self.run.version = states[self.number]

    def state(self, digest: Digest) -> Version | None:
        """Return the version of that digest."""
        found = (s for s in self.states.values() if canonical.digest(s) == digest)
        return next(found, None)

    # Rounds -------------------------------------------------------------------------------------

    def cloud(self, name: str) -> Cloud:
        """Return another member."""
        return self.clouds.setdefault(name, Cloud(name, self.run.algorithm))

    def offer(self, name: WorkerId, spoiled: str = "") -> Offer:
        """Return another member's offer on the head.

        Args:
            spoiled: unsigned, signature, certificate, run, base, small_key, no_key, keys_of.NAME.
        """
        self.num_offers[name] = self.num_offers.get(name, 0) + 1
        nonce = f"{name}/{self.num_offers[name]}"
        run = "other" if spoiled == "run" else self.run.genesis.run
        digest = NOBODYS if spoiled == "base" else self.stand[1]
        plain = Offer(run, name, "b1", nonce, self.number, digest, 2000, 0.04, 0, 20, 100, 0)
        if not self.run.algorithm.masked or spoiled == "unsigned":
            return plain
        cloud = self.cloud(name)
        signed = cloud.sign_offer(plain)
        assert signed.keys is not None
        how, _, of = spoiled.partition(".")
        match how:
            case "signature":
                return replace(signed, tokens=1)
            case "certificate":
                keys = replace(signed.keys, certificate=certificate("gcp"))
            case "small_key":
                keys = replace(signed.keys, sealing="00" * 32)
            case "no_key":
                keys = replace(signed.keys, masking="zz")
            case "keys_of":
                theirs = self.cloud(of).secrets[f"{of}/{self.num_offers[of]}"].masking.public
                keys = replace(signed.keys, masking=theirs.to_bytes().hex())
            case _:
                return signed
        unsigned = replace(signed, keys=keys, signature=None)
        signature = signer(name)("offer", signed_content(unsigned))
        return replace(unsigned, signature=signature.hex())

    def planned(self, own: Offer, o: Options) -> Plan:
        """Close a cohort; return its plan as the worker is shown it.

        Options: `with` other members; NAME=how its offer is spoiled; `own` = changed or left_out;
        `round`, `base`, `digest`, `threshold`, `bits`, `tier`, `hours`, `keys`, `upload` of the
        plan; `theirs=hours` shows the others another one; `aside` shows it to nobody else.
        """
        names = sorted(WorkerId(w) for w in o.get("with", ",".join(OTHERS)).split(",") if w)
        offers = [self.offer(w, o.get(w, "")) for w in names]
        match o.get("own"):
            case "changed":
                offers.append(replace(own, tokens=own.tokens + 1))
            case "left_out":
                pass
            case _:
                offers.append(own)
        self.num_plans += 1
        number = int(o.get("round", self.num_plans))
        plan = self.run.draft(
            self.num_plans,
            offers,
            round=RoundId(f"{number:08x}{0:024x}"),
            version=int(o.get("base", self.number)),
            hours=float(o.get("hours", "0")),
            key_timeout_s=float(o.get("keys", "5")),
            upload_timeout_s=float(o.get("upload", "30")),
        )
        changes: dict[str, object] = {k: int(o[k]) for k in ("threshold", "bits") if k in o}
        if "digest" in o:
            changes["digest"] = own.digest if o["digest"] == "own" else NOBODYS
        if "tier" in o:
            changes["tier"] = o["tier"]
        plan = replace(plan, **changes)  # type: ignore[arg-type]
        if "aside" not in o:
            self.plan = replace(plan, hours=9.0) if o.get("theirs") == "hours" else plan
            self.told, self.u2 = {}, ()
        return plan

    def answers(self, o: Options) -> tuple[RoundId, Answers, Sealed]:
        """Return U2 as the worker is told it, and what is sealed for it.

        Options: `of` = U2; NAME.tokens, NAME.lr_sum of another's numbers; NAME = signature,
        missing, flipped, repeated, commitment; `own` = changed; `beside` = who is not in the plan.
        """
        plan = self._plan()
        for w in plan.roster:
            if w != self.me and w not in self.told:
                self.told[w] = self._answer(w, o)
        answers = {w: answer for w, (answer, _) in self.told.items()}
        sealed = {w: s[self.me] for w, (_, s) in self.told.items() if self.me in s}
        if "of" in o:
            named = o["of"].split(",")
            answers = {w: a for w, a in answers.items() if w in named}
        if "beside" in o:
            answers[WorkerId(o["beside"])] = next(iter(answers.values()))
        for w in list(answers):
            answers[w] = self._spoiled_answer(w, answers[w], o.get(w, ""))
            match o.get(w):
                case "missing":
                    del sealed[w]
                case "flipped":
                    sealed[w] = bytes([sealed[w][0] ^ 1]) + sealed[w][1:]
                case "repeated":
                    sealed[w] = next(s for name, s in sealed.items() if name != w)
        if o.get("own") == "changed":
            mine = answers[self.me]
            answers[self.me] = replace(mine, numbers=replace(mine.numbers, tokens=1))
        self.u2 = tuple(sorted(answers))
        return plan.round, dict(sorted(answers.items())), dict(sorted(sealed.items()))

    def _plan(self) -> Plan:
        assert self.plan is not None, "no plan yet"
        return self.plan

    def _answer(self, name: WorkerId, o: Options) -> tuple[Answer, Sealed]:
        numbers = replace(
            NUMBERS,
            tokens=int(o.get(f"{name}.tokens", NUMBERS.tokens)),
            lr_sum=float(o.get(f"{name}.lr_sum", NUMBERS.lr_sum)),
        )
        plan = self._plan()
        if not plan.masked:
            return Answer(canonical.digest(plan), name, numbers), {}
        return self.cloud(name).attempt(plan).answer(numbers)

    def _spoiled_answer(self, name: WorkerId, answer: Answer, how: str) -> Answer:
        match how:
            case "signature":
                return replace(answer, numbers=replace(answer.numbers, tokens=1))
            case "commitment":
                assert answer.commitments is not None
                commitments = replace(answer.commitments, common="ab" * 32)
                unsigned = replace(answer, commitments=commitments, signature=None)
                signature = signer(name)("shares", signed_content(unsigned))
                return replace(unsigned, signature=signature.hex())
            case _:
                return answer

    def signatures(self, of: Iterable[str], by: Iterable[str], wrong: str) -> dict[WorkerId, bytes]:
        """Return signatures over a list of survivors.

        Args:
            wrong: one = the first one's in all names; u2 = over another U2; round = of another one.
        """
        plan, u2 = self._plan(), self.u2
        if wrong == "u2":
            u2 = u2[1:]
        if wrong == "round":
            plan = replace(plan, round=RoundId("9" * 32))
        content = list_content(plan, u2, tuple(WorkerId(w) for w in of))
        names = [WorkerId(w) for w in by]
        return {w: signer(names[0] if wrong == "one" else w)("list", content) for w in names}

    # The log ------------------------------------------------------------------------------------

    def committed(self, survivors: str, o: Options) -> Record:
        """Append a commit; `others` = of a round in which the worker has no part.

        Options: `by` = who was in such a round; `signed` = who signed the list, where it is not U2;
        `wrong` and the rest as in `_changed`; `numbers` = others than were answered.
        """
        numbers: dict[WorkerId, Numbers]
        if survivors in ("others", ""):
            names = [WorkerId(w) for w in o.get("by", ",".join(OTHERS)).split(",")]
            self.num_plans += 1
            number = f"{self.num_plans:08x}{0:024x}"
            offers = [self.offer(w) for w in names]
            plan = self.run.draft(0, offers, round=RoundId(number), version=self.number)
            numbers, listed = dict.fromkeys(names, NUMBERS), tuple(names)
        else:
            plan, listed = self._plan(), tuple(WorkerId(w) for w in survivors.split(","))
            members = self.u2 or plan.roster
            numbers = {w: self.told[w][0].numbers if w in self.told else NUMBERS for w in members}
        if "numbers" in o:
            numbers = {w: replace(n, tokens=2 * n.tokens) for w, n in numbers.items()}
        signed = None
        if plan.masked and set(listed) != set(numbers):
            by = o.get("signed", ",".join(listed)).split(",")
            told = self.signatures(listed, filter(None, by), "")
            signed = {w: s.hex() for w, s in told.items()}
        layout = round_layout(self.run.genesis, plan.bits, plan.fragment)
        name = f"{plan.round} on {self.number}" + " of its own" * (self.true_log is not None)
        commit = Commit(
            plan=plan,
            numbers=numbers,
            survivors=tuple(sorted(listed)),
            side_values=SideValues(65535 * len(listed), 2**20 * len(listed), 0),
            aggregate=canonical.digest_of(f"sum of {name}".encode()),
            aggregate_bytes=layout.aggregate_bytes(len(listed)),
            signatures=signed,
        )
        before = self.run.version
        files = ("theta", "scales", *before.state)
        made = {f: (canonical.digest_of(f"{f} of {name}".encode()),) for f in files}
        self.run.version = replace(
            before,
            theta=made["theta"],
            state={f: made[f] for f in before.state},
            scales=made["scales"],
            commits=before.commits + 1,
        )
        self.number += 1
        self.states[self.number] = self.run.version
        return self._appended(o, commit=commit)

    def returned(self, version: int, o: Options) -> Record:
        """Append a roll-back to `version`.

        Options: `order` = none, or by whom; `for`, `records`, `genesis` of it; `origin` = none.
        """
        state, digest = self.states[version], canonical.digest(self.states[version])
        given: RollbackOrder | None = None
        if self.run.algorithm.masked and o.get("order") != "none":
            ordered = int(o.get("for", version))
            genesis = NOBODYS if "genesis" in o else self.id
            length = int(o.get("records", len(self.records)))
            of = canonical.digest(self.states[ordered])
            given = order(o.get("order", OPERATOR), genesis, ordered, of, length)
        origin = None if o.get("origin") == "none" else self._origin(digest)
        self.roll_back(version, state, given, origin)
        self.states[self.number] = state
        return self._changed(o)

    def _origin(self, digest: Digest) -> Origin | None:
        made = [r for r in self.records if r.commit is not None and r.digest == digest]
        if not made or not self.run.algorithm.masked:
            return None
        commit = made[0].commit
        assert commit is not None
        names = commit.plan.roster
        words = {w: word(w, self.id, made[0]).signature or "" for w in names}
        return Origin(commit.plan, made[0].version, run_state(made[0]), words)

    def aborted(self, reason: str, o: Options) -> Record:
        """Append the abort of the newest round; `abandons` = whose promises it holds."""
        plan = self._plan()
        names = [WorkerId(w) for w in o.get("abandons", "").split(",") if w]
        told = {w: signer(w)("abandon", abandon_content(plan)).hex() for w in names}
        abandons = told if plan.masked else None
        return self._appended(o, abort=Abort(plan.round, plan.roster, reason, "", abandons))

    def said(self, kind: str, o: Options) -> Record:
        """Append a record that moves nothing: takeover, pause, resume, stop or evaluation."""
        match kind:
            case "takeover":
                return self._appended(o, takeover=Takeover("c2"))
            case "evaluation":
                number, digest = self.stand
                return self._appended(o, evaluation=measured(number, digest=digest))
            case _:
                return self._appended(o, control=Control(kind, OPERATOR, ""))

    def _appended(self, o: Options, **body: object) -> Record:
        self.append(**body)
        return self._changed(o)

    def _changed(self, o: Options) -> Record:
        """Have the newest record lie; return it.

        Options: `words` = whose words about the newest commit before it holds; `version` and
        `progress`, another one; `wrong` = digest, counters, previous, seconds, kinds, rolled_back;
        `plan.*` = version, bits, num_live or tier of a commit's plan.
        """
        record = self.records[-1]
        if "words" in o:
            about = [r for r in self.records[:-1] if r.commit is not None][-1]
            names = [WorkerId(w) for w in o["words"].split(",")]
            words = {w: word(w, self.id, about).signature or "" for w in names}
            record = replace(record, words=words)
        if "version" in o:
            record = replace(record, version=int(o["version"]))
        if "progress" in o:
            record = replace(record, progress=float(o["progress"]))
        match o.get("wrong"):
            case "digest":
                record = replace(record, digest=NOBODYS)
            case "counters":
                record = replace(record, counters=replace(record.counters, tokens=1))
            case "seconds":
                record = replace(record, counters=replace(record.counters, elapsed_s=-1))
            case "previous":
                record = replace(record, previous=NOBODYS)
            case "rolled_back":
                record = replace(record, rolled_back=0)
            case "kinds":
                record = replace(record, control=Control("pause", OPERATOR, ""))
        if (commit := record.commit) is not None:
            plan = commit.plan
            for name in ("version", "bits", "num_live"):
                if f"plan.{name}" in o:
                    plan = replace(plan, **{name: int(o[f"plan.{name}"])})  # type: ignore[arg-type]
            if "plan.tier" in o:
                plan = replace(plan, tier=o["plan.tier"])
            record = replace(record, commit=replace(commit, plan=plan))
        self.records[-1] = record
        return record

    def word_of(self, name: str, o: Options) -> Attestation:
        """Return a word about the newest commit, or that of record `of`.

        Options: `wrong` = signature, genesis, digest, version.
        """
        made = [r for r in self.records if r.commit is not None]
        about = self.records[int(o["of"])] if "of" in o else made[-1]
        changes: dict[str, object] = {}
        match o.get("wrong"):
            case "genesis":
                changes["genesis"] = NOBODYS
            case "digest":
                changes["digest"] = NOBODYS
            case "version":
                changes["version"] = about.version + 1
        said = word(name, self.id, about, **changes)
        return replace(said, signature="00" * 64) if o.get("wrong") == "signature" else said


def moves(record: Record) -> bool:
    """Return whether a record makes a version, or brings one back."""
    return record.commit is not None or record.rollback is not None
