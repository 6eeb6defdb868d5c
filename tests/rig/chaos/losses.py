"""Workers killed at a given message of a masked round, and what has to come of it.

    paused, all on the head --resume--> offers ... --a message is kept back--> kill, let go
      --> commit without them | commit with their uploads | abort --> they start again
      --> the next round commits with everybody --> paused, all on the head

Every process is the real one; `gate.py` keeps the message back. A kill that would miss its moment
ends the test: the message does not come, or the coordinator's status is another one.
"""

import contextlib
import enum
import os
import signal
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Final, Self

from commands.demo.federation import Federation
from commands.demo.layout import COORDINATOR, OPERATOR, FederationSpec, WorkerSpec
from common import canonical
from common.documents import Commit, Record
from common.ids import Digest
from common.thresholds import abandons_needed
from protos.v1.operator_pb2 import WorkerStatus
from services.config.settings import load_operator
from services.process.exit_status import Exit
from services.trust.identity import Role
from services.wire.credentials import channel_credentials
from services.wire.operator_link import OperatorLink, RunStatus
from tests.rig.chaos.gate import Gate
from tests.rig.chaos.harness import COUNTABLE, KEEP_ALL, edited
from tests.rig.chaos.processes import MARK, running
from tests.rig.chaos.witness import Witness

SIZE: Final = 2**19  # values of 16 bits: two shards of them, beside those of side values and tags
LOCAL_STEPS: Final = 10
STEPS_PER_S: Final = 20
LEASE_S: Final = 4.0
NEVER_S: Final = 3600.0
"""No deadline ends anything here: whoever is lost is noticed, or waited for in vain."""
RESOLVE_S: Final = 4.0
"""But the wait for Abandons that nobody can give."""

_PATIENCE_S: Final = 60.0
_THRESHOLD: Final = 3  # of three, four or five


class Moment(enum.Enum):
    """When a worker is killed: after what it said, before what."""

    OFFERED = "its offer is there, no cohort is closed"
    PLAN = "it is in a plan that it never reads"
    ANSWER = "it has read the plan, its shares do not leave it"
    MEMBERS = "its shares are there, it never hears who is in the sum"
    FIRST_SHARD = "no byte of its first shard leaves it"
    MID_UPLOAD = "its first shard is there, its second is not"
    SURVIVORS = "its upload is complete, it is never asked to unmask"
    SHARES = "it has answered Unmask, the answer does not leave it"
    OUTCOME = "its answer to Unmask is there, it never reads the outcome"


_KEPT_BACK: Final = {
    Moment.PLAN: "plan",
    Moment.ANSWER: "answer",
    Moment.MEMBERS: "members",
    Moment.FIRST_SHARD: "shard 0",
    Moment.MID_UPLOAD: "shard 1",
    Moment.SURVIVORS: "survivors",
    Moment.SHARES: "shares",
    Moment.OUTCOME: "commit",
}
_PHASE: Final = {
    Moment.OFFERED: "collecting_offers",
    Moment.PLAN: "share_keys",
    Moment.ANSWER: "share_keys",
    Moment.MEMBERS: "collect_masked",
    Moment.FIRST_SHARD: "collect_masked",
    Moment.MID_UPLOAD: "collect_masked",
    Moment.SURVIVORS: "unmask",
    Moment.SHARES: "unmask",
    Moment.OUTCOME: "collecting_offers",
}
_ANSWERED: Final = tuple(Moment)[3:]
"""Those in which the lost are in U2."""
_UPLOADED: Final = (Moment.SURVIVORS, Moment.SHARES, Moment.OUTCOME)


def spec(folder: Path, names: Sequence[str]) -> FederationSpec:
    """Return a masked federation whose work can be counted, and that no deadline helps."""
    run = {
        "learner": "tests.rig.chaos.learner:build",
        "settings": {"workers": list(names), "size": SIZE},
        "preset": "async_diloco",
        "algorithm": {
            **COUNTABLE,
            "tier": "masked",
            "min_cohort": 3,
            "local_steps": LOCAL_STEPS,
            "quorum": 1.0,
            "codec": {"kind": "dense", "bits": 16, "first_bits": 16, "residual_decay": 1.0},
        },
        "stop": {"versions": 1_000_000},
    }
    timings = {
        "heartbeat_s": 0.3,
        "worker_lease_s": LEASE_S,
        "leader_lease_s": 10.0,
        "key_timeout_s": NEVER_S,
        "upload_timeout_s": NEVER_S,
        "resolve_timeout_s": NEVER_S,
        "first_grace_s": 0.3,
    }
    workers = tuple(WorkerSpec(n, {"none.txt": ""}, max_steps_per_s=STEPS_PER_S) for n in names)
    data = {"journals": str(folder.resolve() / "journals")}
    return FederationSpec(folder, "losses", workers, {"none.txt": ""}, run, data, timings)


class Losses:
    """A federation of which workers are killed. A context manager.

    Args:
        folder: gets everything; missing or empty.
        names: of the workers, sorted.
        resolve_timeout_s: of the coordinator; RESOLVE_S where work has to be spent.
    """

    def __init__(
        self, folder: Path, names: Sequence[str], resolve_timeout_s: float = NEVER_S
    ) -> None:
        self._names = tuple(names)
        self._federation = Federation(spec(folder, names))
        self._layout = self._federation.layout
        self.gate = Gate(self._layout, names)
        self._resolve_timeout_s = resolve_timeout_s
        self._down: set[str] = set()
        self.witness = Witness(self._layout, names)
        self._link: OperatorLink
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        os.environ[MARK] = str(self._layout.folder)
        with self._stack:
            self._stack.callback(os.environ.pop, MARK)
            self._federation.prepare()
            (self._layout.folder / "journals").mkdir()
            self._stack.enter_context(self.gate)
            with edited(self._layout.config(COORDINATOR)) as settings:
                settings["snapshot_every"] = KEEP_ALL
                settings["timings"]["resolve_timeout_s"] = self._resolve_timeout_s
            for name in self._names:
                with edited(self._layout.config(name)) as settings:
                    settings["coordinator"] = self.gate.addresses
            self._stack.callback(self._end)
            self._federation.start()
            self._wait_for_start()
            self._link = self._stack.enter_context(self._operator())
            self._until(lambda s: len(s.workers) == len(self._names), "all have joined")
            self._link.pause()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def end(self, empty: Path) -> None:
        """Let the run end, and account for every step.

        Args:
            empty: a folder for a clean replay.
        """
        version = self._settled().version
        self._federation.stop(alone_s=40.0)
        for name in (COORDINATOR, *self._names):
            process = self._federation.process(name)
            assert (process.exit_code, process.ended_by_us) == (Exit.OVER, False), (
                process.last_lines()
            )
        self.witness.check(version, empty)

    # One round

    def play(self, moment: Moment, *lost: str) -> Record | None:
        """Kill workers at a moment; return how the round ended, None where none was closed.

        Everybody is back afterwards, and was in the sum of the round after it.
        """
        self._settled()
        num_records = len(self._records())
        left = [n for n in self._names if n not in lost]
        enough = len(left) >= _THRESHOLD or moment is Moment.OUTCOME
        self._reach(moment, lost)
        pending = {w.name: w.pending_steps for w in self._status().workers}
        self._kill(lost)
        if moment is Moment.OFFERED:
            self._until(lambda s: not any(_of(s, n).state == "offered" for n in lost), "withdrawn")
        self.gate.let_go(lost=lost)
        self._until(lambda s: all(_of(s, n).pending_steps > pending[n] for n in left), "they train")
        if not enough:
            self._concludes(moment, left, num_records)
        elif moment is Moment.OFFERED:
            self._until(lambda s: s.phase != "collecting_offers", "a cohort is closed")
        self._link.pause()
        record = self._outcome(num_records) if enough else None
        self._restart(lost)
        if moment is not Moment.OFFERED or enough:
            record = self._outcome(num_records)
        assert record is not None or not self._outcomes(num_records)
        self._check(record, moment, lost)
        self._check_next()
        return record

    def _concludes(self, moment: Moment, left: Sequence[str], num_records: int) -> None:
        """Wait until the coordinator has drawn its conclusion from too few that are left."""
        if moment in _ANSWERED:  # with the word of those left the round may be over at once
            self._until(
                lambda s: s.phase == "ending" or bool(self._outcomes(num_records)), "it ends"
            )
            return
        few = f"{len(left)} live, {_THRESHOLD} needed"
        self._until(lambda s: few in s.waiting_for, few)

    def _reach(self, moment: Moment, lost: Sequence[str]) -> None:
        """Resume, and go on until those to be lost are where they are to be killed.

        Raises:
            MissedError: they do not get there.
        """
        kept_back = dict.fromkeys(lost, _KEPT_BACK.get(moment, ""))
        if moment is Moment.OFFERED:  # one other's is missing, so no cohort closes
            kept_back = {next(n for n in self._names if n not in lost): "offer"}
        if moment in (Moment.SURVIVORS, Moment.SHARES):  # the others alone might be enough
            kept_back = dict.fromkeys(self._names, "shares") | kept_back
        revealed = {n: self.gate.passed[n, "shares"] for n in lost}
        self.gate.keep_back(kept_back)
        if moment is Moment.OFFERED:
            self._void_offers(kept_back)
        self._link.resume()
        self.gate.wait_until_kept()
        if moment is Moment.OFFERED:
            self._until(lambda s: all(_of(s, n).state == "offered" for n in lost), "offers")
        if moment is Moment.OUTCOME:
            for name in lost:
                self.gate.wait_for(name, "shares", revealed[name] + 1)
        if moment is Moment.MID_UPLOAD:
            spool = self._layout.state(COORDINATOR) / "spool"
            self._until(
                lambda _: {p.stem for p in spool.glob("*/*.part")} >= set(lost), "first shards"
            )
        status = self._status()
        assert status.phase == _PHASE[moment], f"missed {moment}: {status}"
        if status.phase != "collecting_offers":
            assert all(n in status.waiting_for for n in lost), f"missed {moment}: {status}"

    def _void_offers(self, names: Collection[str]) -> None:
        """Let no offer stand that was there before they were kept back."""
        for name in names:
            before = self.gate.passed[name, "welcome"]
            self.gate.cut(name)
            self.gate.wait_for(name, "welcome", before + 1)
        self._until(lambda s: not any(_of(s, n).state == "offered" for n in names), "void")

    def _kill(self, lost: Sequence[str]) -> None:
        """End workers at once, link and trainer, as a power cut does."""
        self._down = set(lost)
        links = {self._federation.process(n).pid: n for n in lost}
        for found in running(self._layout.folder):
            if found.pid in links or found.parent in links:
                found.signal(signal.SIGKILL)
        for name in lost:
            process = self._federation.process(name)
            assert process.wait(10)
            assert process.exit_code == -signal.SIGKILL, process.last_lines()
        deadline_s = time.monotonic() + 10
        while [f for f in running(self._layout.folder) if f.parent in links]:
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    def _restart(self, lost: Sequence[str]) -> None:
        before = {n: self.gate.passed[n, "welcome"] for n in lost}
        for name in lost:
            self.witness.restarts(name)
            self._federation.restart(name)
        self._down = set()
        self._until(
            lambda _: all(self.gate.passed[n, "welcome"] > before[n] for n in lost), "are back"
        )

    def _check(self, record: Record | None, moment: Moment, lost: Sequence[str]) -> None:
        """Whoever was killed later, or earlier, would have left another record."""
        left = {n for n in self._names if n not in lost}
        if record is None:
            assert moment is Moment.OFFERED
            assert len(left) < _THRESHOLD
            return
        roster = left if moment is Moment.OFFERED else set(self._names)
        if record.commit is not None:
            commit = record.commit
            assert len(left) >= _THRESHOLD or moment is Moment.OUTCOME
            assert set(commit.plan.roster) == roster
            assert set(commit.numbers) == (roster if moment in _ANSWERED else left)
            assert set(commit.survivors) == (set(self._names) if moment in _UPLOADED else left)
            self._check_numbers(commit)
            return
        abort = record.abort
        assert abort is not None
        assert len(left) < _THRESHOLD
        assert set(abort.roster) == roster
        assert abort.reason == "below_threshold"
        assert all(name in abort.detail for name in lost), abort.detail
        if moment not in _ANSWERED:
            assert abort.abandons is None
        elif moment is not Moment.SHARES:  # all work is free
            assert len(abort.abandons or {}) >= abandons_needed(len(roster), 0, _THRESHOLD)
        else:  # all had answered: nobody could say that it never will
            assert not abort.abandons
            for name in self._names:
                answer = self.gate.answers[abort.round, name]
                self.witness.spent[name] += answer.numbers.steps

    def _check_numbers(self, commit: Commit) -> None:
        for name, numbers in commit.numbers.items():
            assert self.gate.answers[commit.plan.round, name].numbers == numbers

    def _check_next(self) -> None:
        """The round after it: everybody is in its sum."""
        num_records = len(self._records())
        self._until(lambda s: all(_of(s, n).live for n in self._names), "all are back")
        self._link.resume()
        self._until(lambda s: s.phase != "collecting_offers", "a cohort is closed")
        self._link.pause()
        record = self._outcome(num_records)
        assert record.commit is not None, record.abort
        assert record.commit.survivors == self._names
        self._check_numbers(record.commit)

    # The run

    def _settled(self) -> RunStatus:
        """Wait until the run, which is paused, has no open round and all stand on its head."""
        return self._until(
            lambda s: (
                s.phase == "collecting_offers" and self.witness.all_stand_on(Digest(s.digest))
            ),
            "all stand on the head",
        )

    def _outcome(self, num_records: int) -> Record:
        """Wait for the first round that ended after so many records."""
        self._until(lambda _: bool(self._outcomes(num_records)), "the round has ended")
        return self._outcomes(num_records)[0]

    def _outcomes(self, num_records: int) -> list[Record]:
        return [r for r in self._records()[num_records:] if r.commit is not None or r.abort]

    def _records(self) -> list[Record]:
        paths = sorted((self._layout.state(COORDINATOR) / "log").glob("*.json"))
        return [canonical.decode(path.read_bytes(), Record) for path in paths]

    def _until(self, holds: Callable[[RunStatus], bool], what: str) -> RunStatus:
        deadline_s = time.monotonic() + _PATIENCE_S
        while not holds(status := self._status()):
            assert time.monotonic() < deadline_s, f"not in {_PATIENCE_S:g} s: {what}: {status}"
            time.sleep(0.02)
        return status

    def _status(self) -> RunStatus:
        for name in {COORDINATOR, *self._names} - self._down:
            process = self._federation.process(name)
            assert process.exit_code is None, f"{name}: {process.last_lines()}"
        return self._link.status()

    def _operator(self) -> OperatorLink:
        settings = load_operator(self._layout.config(OPERATOR), environ={})
        credentials = channel_credentials(settings.tls, settings.run, Role.OPERATOR)
        return OperatorLink(settings.coordinator, credentials, timeout_s=10.0)

    def _wait_for_start(self) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while self._federation.status() is None:
            self._federation.check()
            assert time.monotonic() < deadline_s, "the coordinator does not answer"
            time.sleep(0.05)

    def _end(self) -> None:
        self._federation.stop(alone_s=1.0, told_s=5.0)
        for found in running(self._layout.folder):
            found.signal(signal.SIGKILL)


def _of(status: RunStatus, name: str) -> WorkerStatus:
    (found,) = (w for w in status.workers if w.name == name)
    return found
