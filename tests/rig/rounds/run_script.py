"""A run of the coordinator's core, told in lines of text. No shell: effects are shown and kept.

    1.5 join aws speed=400        seconds, a verb, a worker (or a name), options

Sessions are called aws-1, aws-2, ... in the order in which they join, rounds r1, r2, ...; a message
comes from its worker's newest session and belongs to the newest round unless options say otherwise.
In the masked tier workers' keys, shares and signatures are real (masked_members.py): a worker
answers what it was sent last; `by=`, `of=` and `wrong=` make it answer something else.
`log` and `store` are what the effects made durable; `restart` begins again with those alone.
The spool takes uploads as soon as it is told to, unless `run spool=slow`: then `opened` says so.
It is long because every event and every effect has its line here.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from common import canonical
from common.documents import (
    Algorithm,
    Answer,
    Attestation,
    Codec,
    Commit,
    Commitments,
    Genesis,
    Numbers,
    Offer,
    Plan,
    Record,
    RollbackOrder,
    SideValues,
    Stop,
)
from common.ids import Digest, RoundId, SessionId, WorkerId
from common.rounds import AbortReason
from common.schema import ModelSchema, TensorSpec
from common.secagg.transcript import abandon_content, list_content, signed_content
from coordinator.head import RunHead
from coordinator.plan import Timings
from coordinator.ports import (
    Abandoned,
    Answered,
    Append,
    Attested,
    Command,
    Compute,
    Computed,
    ComputeFailed,
    Delete,
    Departed,
    Disconnected,
    Dismiss,
    Draining,
    DropSpool,
    Effect,
    End,
    Evaluated,
    Event,
    Expelled,
    Finish,
    Forgotten,
    Heard,
    Joined,
    LeftOut,
    Listed,
    Members,
    Message,
    Note,
    NotRolledBack,
    Offered,
    OpenSpool,
    Operated,
    Pace,
    Progressed,
    Publish,
    Put,
    Refused,
    Replaced,
    Restore,
    Restored,
    RestoreFailed,
    Revealed,
    RollbackAsked,
    Save,
    Seal,
    Sealed,
    Secrets,
    Send,
    Signatures,
    SpoolOpened,
    Survivors,
    Table,
    Ticked,
    Uploaded,
)
from coordinator.run import Run
from coordinator.saved_round import OPEN, SavedRound
from tests.rig.rounds.masked_members import Cloud, admits, changed, measured, order, signer, word
from worker.rounds.attempt import MaskedAttempt
from worker.rounds.round import RefusedError

SCHEMA = ModelSchema((TensorSpec("w", (1000, 1000)),))
Options = Mapping[str, str]


@dataclass
class RoundIds:
    drawn: int = 0

    def __call__(self) -> RoundId:
        self.drawn += 1
        return RoundId(f"{self.drawn:032x}")


@dataclass
class Script:
    genesis: Genesis
    timings: Timings
    log: list[Record] = field(default_factory=list)
    store: dict[Table, dict[str, bytes]] = field(default_factory=dict)
    round_ids: RoundIds = field(default_factory=RoundIds)
    sessions: dict[str, int] = field(default_factory=dict)
    boots: dict[str, str] = field(default_factory=dict)
    num_offers: dict[str, int] = field(default_factory=dict)
    clouds: dict[str, Cloud] = field(default_factory=dict)
    sent: dict[tuple[str, type], Message] = field(default_factory=dict)
    planned: Plan | None = None
    computing: Compute | None = None
    num_starts: int = 0
    spool_is_slow: bool = False

    # Telling ------------------------------------------------------------------------------------

    def tell(self, line: str) -> tuple[Effect, ...]:
        return self.keep(self.effects_of(line))

    def effects_of(self, line: str) -> tuple[Effect, ...]:
        """Return what a line asks for; `keep` what of it was carried out."""
        now_s, verb, name, options = parsed(line)
        if verb == "restart":
            return self.start(now_s)
        effects = self.run.handle(self.event(verb, name, options), now_s)
        if verb == "join":  # not before it was let in
            self.sessions[name] = self.sessions.get(name, 0) + 1
            self.boots[name] = options.get("boot", "b1")
        if verb == "offer":
            self.num_offers[name] = self.num_offers.get(name, 0) + 1
        opened = next((e.round for e in effects if isinstance(e, OpenSpool)), None)
        if opened is not None and not self.spool_is_slow:
            effects += self.run.handle(SpoolOpened(opened), now_s)
        return effects

    def start(self, now_s: float) -> tuple[Effect, ...]:
        head = RunHead.of(self.genesis)
        for record in self.log:
            head = head.after(record)
        self.num_starts += 1
        self.run = Run(
            self.genesis,
            head=head,
            leader=f"c{self.num_starts}",
            new_round_id=self.round_ids,
            unix_offset_s=1_700_000_000.0,
            timings=self.timings,
            admits=admits,
            evaluators=admits,
        )
        return self.run.start(now_s, self.store)

    def keep(self, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        for effect in effects:
            match effect:
                case Append(record):
                    self.log.append(record)
                case Save(changes):
                    for change in changes:
                        fields = self.store.setdefault(change.table, {})
                        if isinstance(change, Put):
                            fields[change.field] = change.value
                        else:
                            fields.pop(change.field, None)
                case Send(_, Plan() as plan):
                    self.planned = plan
                    self.sent.clear()
                case Send(session, (Members() | Survivors() | Signatures()) as message):
                    self.sent[session.rpartition("-")[0], type(message)] = message
                case Compute():
                    self.computing = effect
        return effects

    # From lines to events -----------------------------------------------------------------------

    def event(self, verb: str, name: str, o: Options) -> Event:
        worker = WorkerId(name)
        number = o.get("session", str(self.sessions.get(name, 0) + (verb == "join")))
        session = SessionId(f"{name}-{number}")
        round_id = RoundId(f"{int(o.get('round', self.round_ids.drawn)):032x}")
        version = int(o.get("version", self.log[-1].version))
        made = {0: self.genesis.version0, **{r.version: r.digest for r in self.log}}
        at = made.get(version, self.log[-1].digest)
        genesis, loss = canonical.digest(self.genesis), float(o.get("loss", "2.5"))
        events: dict[str, Callable[[], Event]] = {
            "join": lambda: Joined(
                worker,
                session,
                o.get("boot", "b1"),
                version,
                int(o.get("speed", "0")),
                o.get("organisation", ""),
            ),
            "heard": lambda: Heard(
                session,
                int(o.get("speed", "0")),
                int(o.get("link", "0")),
                version,
                int(o.get("pending", "20")),
                o.get("open", ""),
            ),
            "offer": lambda: Offered(session, self.offer(name, version, o)),
            "numbers": lambda: Answered(session, round_id, *self.answer(worker, o)),
            "sign": lambda: Listed(session, round_id, self.signature(o.get("by", name), o)),
            "reveal": lambda: self.revealed(session, round_id, o.get("by", name), o),
            "abandon": lambda: Abandoned(session, round_id, self.abandon(o.get("by", name))),
            "attest": lambda: Attested(session, self.word(o, name)),
            "refuse": lambda: Refused(
                session, round_id, int(o.get("rule", "15")), "nothing pending"
            ),
            "leave": lambda: Departed(session, "the machine is needed"),
            "disconnect": lambda: Disconnected(session),
            "expel": lambda: Expelled(worker),
            "evaluated": lambda: Evaluated(
                measured(version, loss, genesis=genesis, digest=at, by=o.get("by", "evaluator"))
            ),
            "pause": lambda: Operated(Command.PAUSE, name),
            "resume": lambda: Operated(Command.RESUME, name),
            "stop": lambda: Operated(Command.STOP, name),
            "rollback": lambda: RollbackAsked(int(o["to"]), name, self.order(name, o)),
            "restored": lambda: Restored(int(o["to"]), self.digest_of(o), int(o["to"])),
            "unrestored": lambda: RestoreFailed(int(o["to"]), "as told"),
            "ending": Draining,
            "opened": lambda: SpoolOpened(round_id),
            "uploaded": lambda: Uploaded(worker, round_id),
            "progress": lambda: Progressed(worker),
            "sealed": lambda: Sealed(
                round_id, tuple(WorkerId(w) for w in sorted(name.split(",")) if w)
            ),
            "computed": lambda: self.computed(round_id),
            "failed": lambda: ComputeFailed(
                round_id,
                AbortReason(name),
                "as told",
                WorkerId(o["blamed"]) if "blamed" in o else None,
            ),
            "tick": Ticked,
        }
        return events[verb]()

    def offer(self, name: str, version: int, o: Options) -> Offer:
        offer = Offer(
            run=o.get("run", self.genesis.run),
            worker=WorkerId(o.get("worker", name)),
            boot=o.get("boot", self.boots.get(name, "b1")),
            nonce=o.get("nonce", f"{name}/{self.num_offers.get(name, 0) + 1}"),
            version=version,
            digest=Digest(o.get("digest", self.digest_of({"to": str(version)}))),
            tokens=int(o.get("tokens", "2000")),
            lr_sum=0.04,
            age_256=0,
            steps=20,
            speed=int(o.get("speed", "100")),
            link_bps=int(o.get("link", "0")),
        )
        if not self.genesis.algorithm.masked or o.get("wrong") == "keys":
            return offer
        signed = self.cloud(o.get("by", name)).sign_offer(offer)
        return replace(signed, tokens=1) if o.get("wrong") == "signature" else signed

    def cloud(self, name: str) -> Cloud:
        return self.clouds.setdefault(name, Cloud(name, self.genesis.algorithm))

    def digests(self) -> list[Digest]:
        """Return the digest of every version so far."""
        made = (r for r in self.log if r.commit is not None or r.rollback is not None)
        return [self.genesis.version0, *(r.digest for r in made)]

    def digest_of(self, o: Options) -> Digest:
        """Return the digest of version `to`, made up where there is none."""
        digests = dict(enumerate(self.digests()))
        return digests.get(int(o["to"]), Digest("f" * 64))

    def answer(
        self, worker: WorkerId, o: Mapping[str, str]
    ) -> tuple[Answer, Mapping[WorkerId, bytes]]:
        plan = self.planned
        if plan is None or not plan.masked or worker not in plan.roster:
            digest = Digest("0" * 64) if plan is None else canonical.digest(plan)
            return Answer(digest, worker, numbers(o)), {}
        answer, sealed = self.cloud(worker).attempt(plan).answer(numbers(o))
        match o.get("wrong"):
            case "numbers":
                return replace(answer, numbers=numbers({"tokens": "1"})), sealed
            case "commitments":
                malformed = Commitments("no digest", "no digest")
                unsigned = replace(answer, commitments=malformed, signature=None)
                signature = signer(worker)("shares", signed_content(unsigned))
                return replace(unsigned, signature=signature.hex()), sealed
            case "sealed":
                return answer, dict(list(sealed.items())[1:])
        return answer, sealed

    def attempt(self, name: str) -> MaskedAttempt | None:
        """Return a worker's attempt at the newest round, if it got as far as to have masks."""
        members = self.sent.get((name, Members))
        if self.planned is None or not isinstance(members, Members) or not members.sealed:
            return None
        attempt = self.cloud(name).attempt(self.planned)
        attempt.named(members.answers, members.sealed)
        return attempt

    def signature(self, name: str, o: Options) -> bytes:
        told, attempt = self.sent.get((name, Survivors)), self.attempt(name)
        if not isinstance(told, Survivors) or attempt is None:
            return b"no signature"
        if "of" in o:
            assert self.planned is not None
            listed = tuple(WorkerId(w) for w in o["of"].split(","))
            members = self.sent[name, Members]
            assert isinstance(members, Members)
            content = list_content(self.planned, tuple(sorted(members.answers)), listed)
            return signer(name)("list", content)
        return attempt.survived(told.survivors) or b"no signature"

    def revealed(self, session: SessionId, round_id: RoundId, name: str, o: Options) -> Revealed:
        told, attempt = self.sent.get((name, Survivors)), self.attempt(name)
        if not isinstance(told, Survivors) or attempt is None:
            return Revealed(session, round_id, {}, {})
        attempt.survived(told.survivors)
        signed = self.sent.get((name, Signatures))
        signatures = signed.signatures if isinstance(signed, Signatures) else {}
        try:
            shares = attempt.reveal(signatures)
        except RefusedError:
            return Revealed(session, round_id, {}, {})
        own, mask = dict(shares.own), dict(shares.mask)
        match o.get("wrong"):
            case "shares":
                own = changed(own)
            case "kind":
                own, mask = {**own, **mask}, {}
            case "missing":
                own.pop(told.survivors[0])
            case "size":
                own[told.survivors[0]] = b"short"
        return Revealed(session, round_id, own, mask)

    def abandon(self, name: str) -> bytes:
        plan = self.planned
        if plan is None or not plan.masked:
            return b"no signature"
        return signer(name)("abandon", abandon_content(plan))

    def word(self, o: Options, name: str) -> Attestation:
        """Return a word for the newest commit's version; `by` gives it, whoever brings it."""
        made = [r for r in self.log if r.commit is not None]
        if not made:
            nowhere = Digest("0" * 64)
            return Attestation(nowhere, nowhere, WorkerId(name), 0, nowhere, nowhere)
        changes: dict[str, object] = {}
        if "digest" in o:
            changes["digest"] = Digest(o["digest"])
        if "version" in o:
            changes["version"] = int(o["version"])
        said = word(o.get("by", name), canonical.digest(self.genesis), made[-1], **changes)
        return replace(said, signature="00" * 64) if o.get("wrong") == "signature" else said

    def order(self, name: str, o: Options) -> RollbackOrder | None:
        """Return what an operator signs in the masked tier."""
        if not self.genesis.algorithm.masked or o.get("wrong") == "missing":
            return None
        at, version = int(o.get("records", str(len(self.log)))), o.get("for", o["to"])
        genesis = canonical.digest(self.genesis)
        if "run" in o:
            genesis = canonical.digest(replace(self.genesis, run=o["run"]))
        signed = order(name, genesis, int(version), self.digest_of({"to": version}), at)
        return replace(signed, signature=None) if o.get("wrong") == "signature" else signed

    def computed(self, round_id: RoundId) -> Computed:
        assert self.planned is not None, "no round was ever planned"
        work = self.computing or Compute(self.planned, {}, ())  # an answer that nobody asked for
        digest = canonical.digest_of(f"{work.plan.digest} {round_id}".encode())
        commit = Commit(
            plan=work.plan,
            numbers=dict(work.numbers),
            survivors=work.survivors,
            side_values=SideValues(65535 * len(work.survivors), 2 * 2**20, 0),
            aggregate=canonical.digest_of(digest.encode()),
            aggregate_bytes=1,
            signatures=work.signatures,
        )
        return Computed(round_id, commit, digest)


def parsed(line: str) -> tuple[float, str, str, Options]:
    """Return seconds, verb, name ("" if none) and options of a line."""
    at, verb, *rest = line.split()
    names = [x for x in rest if "=" not in x]
    options = dict(x.split("=", 1) for x in rest if "=" in x)
    return float(at), verb, names[0] if names else "", options


def begun(o: Options | None = None) -> Script:
    """Return a script whose run is not started yet; options as in `run policy=sync ...`."""
    o = o or {}
    algorithm = Algorithm(
        tier=o.get("tier", "tls"),
        policy=o.get("policy", "async"),
        max_cohort=int(o.get("max_cohort", "8")),
        min_cohort=int(o.get("min_cohort", "1")),
        max_staleness=float(o.get("max_staleness", "8")),
        codec=Codec(),
    )
    stop = Stop(
        versions=int(o.get("versions", "0")),
        tokens=int(o.get("tokens", "0")),
        hours=float(o.get("hours", "0")),
        loss=float(o.get("loss", "0")),
    )
    genesis = Genesis("small", 7, "", {}, SCHEMA, Digest("0" * 64), algorithm, stop)
    timings = Timings(
        lease_s=float(o.get("lease", "10")),
        key_timeout_s=float(o.get("keys", "5")),
        upload_timeout_s=float(o.get("upload", "30")),
        default_grace_s=float(o.get("grace", "2")),
        resolve_timeout_s=float(o.get("resolve", "20")),
    )
    return Script(genesis, timings, spool_is_slow="spool" in o)


def numbers(o: Options | None = None) -> Numbers:
    """Return numbers at close."""
    o = o or {}
    tokens, steps = int(o.get("tokens", "2000")), int(o.get("steps", "20"))
    return Numbers(
        tokens=tokens,
        lr_sum=0.002 * steps,
        age_256=int(o.get("age_256", "0")),
        staleness_65535=65535,
        steps=steps,
        samples=16,
    )


# From effects to lines --------------------------------------------------------------------------


def shown(effects: tuple[Effect, ...], otherwise: str = "ok") -> str:
    """Return effects as lines for people; a round's id as r1, r2, ..."""
    text = "\n".join(_effect(e) for e in effects) or otherwise
    return re.sub(r"\b0{24}([0-9a-f]{8})\b", lambda m: f"r{int(m[1], 16)}", text)


def _effect(effect: Effect) -> str:
    match effect:
        case Save(changes):
            return "save " + ", ".join(filter(None, map(_change, changes)))
        case Append(record):
            return f"append #{record.seq} {_record(record)}"
        case Publish(record):
            return f"publish #{record.seq}"
        case OpenSpool(round_, members, bits, _):
            return f"open spool {round_} for {','.join(members)} at {bits} bits"
        case Seal(round_):
            return f"seal {round_}"
        case Compute(plan, of, survivors, secrets):
            told = f"compute {plan.round} survivors {','.join(survivors)} of {','.join(of)}"
            return f"{told} {_secrets(secrets)}" if secrets.own else told
        case Restore(version):
            return f"restore version {version}"
        case DropSpool(round_):
            return f"drop spool {round_}"
        case Send(session, message):
            return f"send {session} {_message(message)}"
        case Note(kind, sentence):
            return f"note {kind}: {sentence}"
        case LeftOut(_, worker, reason):
            return f"left out {worker}: {reason.value}"
        case Forgotten(key, why):
            return f"forget {key}: {why}"
        case NotRolledBack(version, detail):
            return f"not rolled back to version {version}: {detail}"
        case Finish(reason):
            return f"finish: {reason}"
        case _:
            assert_never(effect)


def _secrets(secrets: Secrets) -> str:
    lost = f", mask keys of {','.join(secrets.lost)}" if secrets.lost else ""
    return f"with own masks of {','.join(secrets.own)}{lost}"


def _change(change: Put | Delete) -> str:
    what = change.table.value.removesuffix("s")
    if isinstance(change, Delete):
        return f"-{what} {change.field}"
    match change.table, change.field:
        case Table.STATE, "digest":
            return ""
        case Table.STATE, _:
            return f"{change.field}={change.value.decode()}"
        case Table.COUNTERS, _:
            return ""
        case Table.ROUND, "open":
            saved = canonical.decode(change.value, SavedRound)
            of = f" of {','.join(saved.numbers)}" if saved.numbers else ""
            by = f" survivors {','.join(saved.survivors)}" if saved.survivors else ""
            return f"round {saved.plan.round} {saved.phase}{of}{by}"
        case Table.ROUND, _:
            return f"{change.field}=#{change.value.decode()}"
    return f"+{what} {change.field}"


def _record(r: Record) -> str:
    return f"{_body(r)}{_of(r.words, 'words')}"


def _body(r: Record) -> str:
    if r.takeover is not None:
        return f"takeover by {r.takeover.leader}, epoch {r.epoch}"
    if r.commit is not None:
        c = r.counters
        return (
            f"commit {r.commit.plan.round} version {r.version} by {','.join(r.commit.survivors)} "
            f"progress {r.progress:.4g} tokens {c.tokens} steps {c.steps} "
            f"member_steps {c.member_steps_256 / 256:g} elapsed {c.elapsed_s} s"
            f"{_of(r.commit.signatures, 'signed')}"
        )
    if r.abort is not None:
        told = f"abort {r.abort.round} {r.abort.reason}: {r.abort.detail}"
        return told + _of(r.abort.abandons, "abandoned")
    if r.evaluation is not None:
        return f"evaluation of version {r.evaluation.version}: loss {r.evaluation.loss:g}"
    if r.rollback is not None:
        back = f"version {r.rollback.version} is version {r.version} for {r.rollback.by}"
        return f"rollback {back} progress {r.progress:.4g} tokens {r.counters.tokens}"
    assert r.control is not None
    return f"control {r.control.action} by {r.control.by} {r.control.detail}".rstrip()


def _of(signatures: Mapping[WorkerId, str] | None, verb: str) -> str:
    if signatures is None:
        return ""
    return f" {verb} by {','.join(sorted(signatures)) or 'nobody'}"


def _message(message: Message) -> str:
    match message:
        case Pace(local_steps, paused, num_records, void_offer):
            flags = (" paused" if paused else "") + (f" void {void_offer}" if void_offer else "")
            return f"pace {local_steps} steps, {num_records} records{flags}"
        case Plan():
            p = message
            return (
                f"plan {p.round} on version {p.version}: {','.join(p.roster)} t={p.threshold} "
                f"bits={p.bits} speed={p.live_speed}/{p.num_live} live "
                f"keys={p.key_timeout_s:g} s upload={p.upload_timeout_s:g} s"
            )
        case Members(round_, of, sealed):
            by = f" sealed by {','.join(sealed)}" if sealed else ""
            return f"members {round_} {','.join(of)}{by}"
        case Survivors(round_, survivors):
            return f"survivors {round_} {','.join(survivors)}"
        case Signatures(round_, signatures):
            return f"signatures {round_} of {','.join(sorted(signatures))}"
        case End(round_):
            return f"end {round_}"
        case Attestation():
            return f"{message.worker} attests version {message.version}"
        case Replaced():
            return "replaced"
        case Dismiss(finished, reason):
            return f"drain{' finished' if finished else ''}: {reason}"
        case _:
            assert_never(message)


def outcome_of(record: Record) -> RoundId | None:
    """Return the round that a record ends, if it ends one."""
    if record.commit is not None:
        return record.commit.plan.round
    return None if record.abort is None else record.abort.round


def saved_round(script: Script) -> SavedRound | None:
    """Return the round that the store holds."""
    saved = script.store.get(Table.ROUND, {}).get(OPEN)
    return None if saved is None else canonical.decode(saved, SavedRound)
