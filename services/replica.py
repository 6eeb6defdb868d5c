"""The head of the chain, kept by replaying the log: what workers and the evaluator stand on.

A commit record and the aggregate file that it names give the next version, computed here with the
same code and the same bits as in the coordinator. If the digest differs, the base's files are
rehashed: damaged ones are fetched again and the step is repeated; if they are sound, the arithmetic
or the log is wrong, and `DivergedError` stops the process. Where an aggregate is no longer kept,
or a version is fewer bytes than the steps to it, that is downloaded whole instead.

Everything here blocks: call it from a thread.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from common import canonical
from common.canonical import MAX_DOCUMENT_BYTES
from common.chain import advance
from common.checks import check_plan
from common.documents import Commit, Genesis, Record, Version
from common.errors import DivergedError, ProtocolError, UnknownFileError
from common.ids import Digest
from common.schema import LEAF
from common.secagg.sums import check_aggregate
from common.terms import round_layout
from services.data_store import DataStore
from worker.catch_up import are_cheap, step_bytes, version_bytes, ways

log = logging.getLogger(__name__)

_LEAF_BYTES: Final = 4 * LEAF

Fetch = Callable[[Digest, Literal["aggregate", "version"], int], None]
"""Download one file of at most so many bytes; UnknownFileError where it is no longer kept."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a replica stands in log and chain; a document, so that it can be saved.

    Args:
        next_seq: first record not yet applied.
        previous: digest of the record before it; of the genesis at 0.
        version: number of the version that it stands on.
        digest: of that version.
        progress: of the run, as of the newest record applied.
        member_steps_256: committed local steps per member, in 1/256.
        behind: whether the log went on past `version` without the files to follow.
        rolled_back: whether the newest move, or while `behind` the coming one, crosses a roll-back.
    """

    next_seq: int
    previous: Digest
    version: int
    digest: Digest
    progress: float
    member_steps_256: int
    behind: bool = False
    rolled_back: bool = False


def genesis_position(genesis: Genesis) -> Position:
    """Return where everybody starts: version 0, nothing of the log seen."""
    return Position(0, canonical.digest(genesis), 0, genesis.version0, 0.0, 0)


class Replica:
    """See the module docstring.

    Args:
        genesis: the run.
        store: where the files of versions and aggregates lie.
        fetch: how to get a file that is missing or damaged.
        position: where to go on; its version's files may be missing: they are fetched.
    """

    def __init__(
        self, genesis: Genesis, store: DataStore, fetch: Fetch, position: Position
    ) -> None:
        self._genesis = genesis
        self._store = store
        self._fetch = fetch
        self.position = position
        self.healed_leaves = 0
        self._whole: Record | None = None  # its version is here already: no step leads to it

    def version(self) -> Version:
        """Return the version that the replica stands on, fetching whatever of it is missing."""
        return self._complete(self.position.digest)

    def leaves(self) -> tuple[str, ...]:
        """Return the paths of theta's leaves, in order."""
        return tuple(str(self._store.path(d)) for d in self.version().theta)

    def start_at(self, record: Record) -> None:
        """Stand on the version that a record names; download what is missing."""
        self._complete(record.digest)
        self.position = _after(record)

    @property
    def is_whole(self) -> bool:
        """Whether all files of the version that it stands on are here."""
        has, digest = self._store.has, self.position.digest
        return has(digest) and all(map(has, canonical.decode(self.read(digest), Version).blobs()))

    @property
    def behind(self) -> bool:
        """Whether the version that it stands on is not the one of the newest record applied."""
        return self.position.behind

    def sync(self) -> None:
        """Make the names of its files durable: whoever remembers its position needs them."""
        self._store.sync()

    def read(self, digest: Digest) -> bytes:
        """Return one file of the version."""
        return self._store.read(digest)

    def choose_way(self, records: Sequence[Record], snapshot_seq: int = -1) -> None:
        """Choose how to follow the next records: in the fewest bytes, see `worker/catch_up.py`.

        Where a whole version is cheaper than the steps to it, its files are fetched now and `apply`
        will pass over the records before it. What is not kept any more is no way; if none is left,
        `apply` goes on as ever.

        Args:
            records: all that will be applied next, up to a version to stand on.
            snapshot_seq: of the record whose version is kept for longest; it need not be there.
        """
        genesis, has = self._genesis, self._store.has
        steps = [step_bytes(record, has) for record in records]
        if not self.behind and are_cheap(genesis, steps):
            return
        wholes = {}
        for i, record in enumerate(records):
            is_last = i == len(records) - 1
            if is_last or record.rollback is not None or record.seq == snapshot_seq:
                with contextlib.suppress(UnknownFileError):
                    version = self._document(record.digest)
                    wholes[i] = version_bytes(genesis, version, has)
        for way in ways(steps, wholes, behind=self.behind):
            if way.whole is None:
                return
            record = records[way.whole]
            try:
                self._complete(record.digest)
            except UnknownFileError:
                log.info("version %d went while it was fetched", record.version)
                continue
            self._whole = record
            log.info("version %d came whole: %d bytes", record.version, wholes[way.whole])
            return

    def apply(self, record: Record) -> bool:
        """Apply the next record of the log; return whether the version changed.

        Raises:
            ProtocolError: not the next record of this log.
            DivergedError: the step does not give the record's digest.
        """
        at = self.position
        self._check_next(record)
        if (whole := self._whole) is not None:
            if record.seq < whole.seq:
                self.pass_over(record)
                return False
            self._whole = None
        if record.commit is None and record.rollback is None and not at.behind:
            if (record.version, record.digest) != (at.version, at.digest):
                raise DivergedError(
                    f"log record {record.seq} is no commit or roll-back, yet moves the head from "
                    f"version {at.version} to {record.version}"
                )
            self.position = _after(record)
            return False
        try:
            self._follow(record, may_step=whole is None and not at.behind)
        except UnknownFileError:
            log.info("version %d is no longer kept: going on to a later one", record.version)
            self.pass_over(record)
            return False
        self.position = self._after_moving(record)
        return True

    def pass_over(self, record: Record) -> None:
        """Go on in the log and stay on the version: a later one is downloaded whole.

        Raises:
            ProtocolError: not the next record of this log.
        """
        at = self.position
        self._check_next(record)
        after = self._after_moving(record)
        self.position = replace(after, version=at.version, digest=at.digest, behind=True)

    def _after_moving(self, record: Record) -> Position:
        at = self.position
        rolled_back = record.rollback is not None or (at.behind and at.rolled_back)
        return replace(_after(record), rolled_back=rolled_back)

    def _check_next(self, record: Record) -> None:
        at = self.position
        if record.seq != at.next_seq or record.previous != at.previous:
            raise ProtocolError(
                f"log record {record.seq} does not follow record {at.next_seq - 1} as this replica "
                "knows it: the coordinator's log was replaced"
            )

    def _follow(self, record: Record, *, may_step: bool) -> None:
        """Reach the record's version: by its step, or where that is not kept, by its files."""
        if record.commit is not None and may_step:
            try:
                self._step(record, record.commit)
            except UnknownFileError:
                log.info("the step to version %d is no longer kept", record.version)
            else:
                return
        self._complete(record.digest)

    def check(self, commit: Commit, kappa: bytes) -> None:
        """Let a masked sum pass that is exactly what its survivors sent.

        Raises:
            BadCommitError: it is not (rule 14).
            UnknownFileError: its aggregate is no longer kept.
        """
        layout = round_layout(self._genesis, commit.plan.bits, commit.plan.fragment)
        self._fetch_aggregate(commit)

        def read(offset: int, length: int) -> bytes:
            return self._store.read_slice(commit.aggregate, offset, length)

        check_aggregate(layout, commit.lanes, commit.survivors, kappa, read)

    def collect(self, *keep: Digest) -> None:
        """Delete every file but those of the current version and of the versions `keep`."""
        files: set[Digest] = set()
        ahead = () if self._whole is None else (self._whole.digest,)
        for digest in {self.position.digest, *ahead, *keep}:
            if self._store.has(digest):
                version = canonical.decode(self._store.read(digest), Version)
                files |= {digest, *version.blobs()}
        self._store.retain(files)

    def _step(self, record: Record, commit: Commit) -> None:
        check_plan(self._genesis, self.version(), commit.plan)  # how long its sum may be
        self._fetch_aggregate(commit)
        if (found := self._advance(commit)) == record.digest:
            return
        suspects = (commit.aggregate, *self.version().blobs())
        damaged = self._store.damaged(suspects)
        if not damaged:
            raise DivergedError(
                f"version {record.version}: replaying gives {found[:16]}... and the log says "
                f"{record.digest[:16]}..., although the base's files are sound: this process and "
                "the coordinator do not compute alike; compare their crosscloud and numpy versions"
            )
        for digest in damaged:
            self._fetch(digest, "version", max(MAX_DOCUMENT_BYTES, commit.aggregate_bytes))
        self.healed_leaves += len(damaged)
        log.warning("healed %d damaged file(s) of version %d", len(damaged), self.position.version)
        if (found := self._advance(commit)) != record.digest:
            raise DivergedError(f"version {record.version}: healing did not help: {found[:16]}...")

    def _fetch_aggregate(self, commit: Commit) -> None:
        if not self._store.has(commit.aggregate):
            plan = commit.plan
            layout = round_layout(self._genesis, plan.bits, plan.fragment)
            most_bytes = layout.aggregate_bytes(len(plan.offers))
            self._fetch(commit.aggregate, "aggregate", most_bytes)

    def _advance(self, commit: Commit) -> Digest:
        def read_aggregate(offset: int, length: int) -> bytes:
            return self._store.read_slice(commit.aggregate, offset, length)

        after = advance(
            self._genesis,
            self.version(),
            commit,
            read_aggregate,
            self._store.read,
            self._store.write,
        )
        return self._store.write(canonical.encode(after))

    def _complete(self, digest: Digest) -> Version:
        """Return a version, all its files in the store; what is fetched is checked by name."""
        version = self._document(digest)
        for blob in dict.fromkeys(version.blobs()):
            if not self._store.has(blob):
                self._fetch(blob, "version", _LEAF_BYTES)
        return version

    def _document(self, digest: Digest) -> Version:
        if not self._store.has(digest):
            self._fetch(digest, "version", MAX_DOCUMENT_BYTES)
        return canonical.decode(self._store.read(digest), Version)


def _after(record: Record) -> Position:
    return Position(
        next_seq=record.seq + 1,
        previous=canonical.digest(record),
        version=record.version,
        digest=record.digest,
        progress=record.progress,
        member_steps_256=record.counters.member_steps_256,
    )
