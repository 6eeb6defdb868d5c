"""The passes over one run, and what each of them found."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from commands.doctor.findings import Finding
from commands.verify.audit import Audit
from commands.verify.exported import model_complaint, weight_files
from commands.verify.kept_run import Files, KeptRun
from commands.verify.replay import KeptSums, Replay
from common.documents import Genesis
from common.errors import DamagedDataError
from services.disk.data_store import DataStore
from services.observe.progress import Outlet, shown

_MOST_SHOWN: Final = 5
_THREADS: Final = 4
"""Each holds about 24 MiB, see `common/chain.advance`."""


@dataclass(slots=True)
class Verdict:
    """What was found, and what is taken on trust.

    Args:
        first_fault: the first record or file that is not as it must be; "" = all are.
        start: the version that the replay began on.
    """

    findings: list[Finding] = field(default_factory=list)
    trusted: list[str] = field(default_factory=list)
    first_fault: str = ""
    start: int = 0

    @property
    def proven(self) -> bool:
        """Whether nothing is false, missing or awaited."""
        return all(f.ok for f in self.findings)

    def found(self, check: str, faults: Sequence[str], sentence: str = "") -> None:
        """Note what a check found: its first faults, or the sentence where there are none."""
        if faults:
            self.first_fault = self.first_fault or faults[0]
            num_more = len(faults) - _MOST_SHOWN
            more = (f"and {num_more} more",) if num_more > 0 else ()
            sentence = "; ".join((*faults[:_MOST_SHOWN], *more))
        self.findings.append(Finding(check, not faults, sentence))


class Check:
    """The passes, one after the other: `log`, `sums`, `files`; then `model`, if there is one.

    Args:
        audit: has read no record.
        work: empty; gets what is computed.
        out: where people see how far it is.
    """

    def __init__(self, run: KeptRun, audit: Audit, work: DataStore, out: Outlet) -> None:
        self._run, self._audit, self._work, self._out = run, audit, work, out
        self._own = DataStore(run.data)
        self._files = Files(self._own, (work, *map(DataStore, run.first)))
        self._kept = KeptSums(run.genesis, Files(self._own, ()))
        self._is_at_head = False
        self.verdict = Verdict()

    def log(self) -> None:
        """Check the log as a chain, and by its members' words, up to the first false record."""
        audit, num, complaint = self._audit, self._run.num_records(), ""
        with shown("reading the log", num, "records", out=self._out) as progress:
            for seq in range(num):
                try:
                    record = self._run.record(seq)
                    complaint = audit.complaint(record)
                except DamagedDataError as e:
                    complaint = str(e)
                if complaint:
                    break
                self._kept.recorded(record)
                progress.advance()
        by = " and by their members' words" * self._run.genesis.algorithm.masked
        faults = [complaint] if complaint else []
        self.verdict.found("log", faults, f"{num} records are checked as a chain{by}")
        if not complaint and (awaited := audit.awaited()):
            self.verdict.found("words", [awaited])

    def sums(self, *, may_build: bool) -> None:
        """Replay the sums that are kept, as far as the log is not false.

        Args:
            may_build: whether the genesis is one's own, so that its learner may be built here.
        """
        start, head, run = self._kept.start, self._audit.head, self._run
        if may_build and start.version == 0 and any(self._files.missing(start.digest)):
            _make_first(run.genesis, self._work, self._out)
        num = head.version - start.version
        with (
            ThreadPoolExecutor(_THREADS, thread_name_prefix="segment") as pool,
            shown("replaying the sums", num, "versions", out=self._out) as progress,
        ):
            replay = Replay(run.genesis, self._files, self._work, pool)
            faults = [*replay.begin(start)]
            for seq in range(start.seq + 1, head.next_seq):
                record = run.record(seq)
                faults += replay.follow(record)
                if replay.is_false:  # it comes before what the log is false about
                    self.verdict.first_fault = faults[-1]
                    break
                progress.advance(record.commit is not None or record.rollback is not None)
        self._is_at_head = replay.at == head.digest and head.next_seq == run.num_records()
        made = f"{replay.num_steps} sums make of version {start.version} version {head.version}"
        self.verdict.found("sums", faults, f"{made}, bit for bit")
        self.verdict.start = start.version
        if start.version:
            whose = (
                "its members' words" if run.genesis.algorithm.masked else "the coordinator's word"
            )
            self.verdict.trusted.append(
                f"sums up to version {start.version} are not kept (snapshot_every) and cannot be "
                f"replayed: that version rests on {whose} alone"
            )

    def files(self) -> None:
        """Check that files are what their names say, and that no kept version lacks one."""
        names = self._run.digests()
        faults = [f"{path} is missing" for path in dict.fromkeys(self._kept.missing)]
        with shown("checking the files", len(names), "files", out=self._out) as progress:
            for name in names:
                if self._own.damaged((name,)):
                    faults.append(f"{self._own.path(name)} is damaged: its SHA-256 is another")
                progress.advance()
        self.verdict.found("files", faults, f"{len(names)} files are what their names say")

    def model(self, folder: Path) -> None:
        """Compare an exported model with the head, which the sums have to lead to."""
        head, schema = self._audit.head, self._run.genesis.schema
        complaint = (
            f"{folder} is not compared: what is above does not lead to the log's last version"
        )
        if self._is_at_head:
            try:
                version, read = self._files.version(head.digest), self._files.read
                complaint = model_complaint(weight_files(folder), schema, version, read)
            except DamagedDataError as e:
                complaint = str(e)
            if complaint:
                complaint += f": this is not version {head.version}"
        is_it = f"{folder} is version {head.version}, bit for bit"
        self.verdict.found("model", [complaint] if complaint else [], is_it)


def _make_first(genesis: Genesis, work: DataStore, out: Outlet) -> None:
    """Make version 0 as a newcomer does: from the run's seed, with the run's own learner."""
    from services.versions.first_version import make_first_version
    from services.versions.learner import build_learner
    from worker.training.learner import LearnerContext
    from worker.training.model import ParameterVector

    with shown("making version 0", out=out):
        context = LearnerContext(genesis.settings, None, genesis.seed, "verify")
        make_first_version(genesis, ParameterVector(build_learner(genesis, context)), work)
