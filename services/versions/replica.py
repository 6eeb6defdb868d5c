"""The head of the chain, kept by replaying the log: what workers and the evaluator stand on.

A commit record and the aggregate file that it names give the next version, computed here with the
same code and the same bits as in the coordinator. If the digest differs, the base's files are
rehashed: damaged ones are fetched again and the step is repeated; if they are sound, the arithmetic
or the log is wrong, and `DivergedError` stops the process. Where an aggregate is no longer kept,
or a version is fewer bytes than the steps to it, that is downloaded whole instead.

What was computed on the way is never stood on: `follow` ends on the version that its last record
names, or, where that cannot be had, on the one that it began on. Whose word that last record needs
is not asked here. Everything here blocks: call it from a thread.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, Literal

from common import canonical
from common.canonical import MAX_DOCUMENT_BYTES
from common.chain import advance
from common.checks import check_plan
from common.documents import Commit, Genesis, Record, Version
from common.errors import DivergedError, UnknownFileError
from common.ids import Digest
from common.log_head import LogHead
from common.schema import SEGMENT
from common.secagg.sums import check_aggregate
from common.terms import round_layout
from services.disk.data_store import DataStore
from worker.rounds.catch_up import are_cheap, step_bytes, version_bytes, ways
from worker.rounds.position import Position

log = logging.getLogger(__name__)

_SEGMENT_BYTES: Final = 4 * SEGMENT

Fetch = Callable[[Digest, Literal["aggregate", "version"], int], None]
"""Download one file of at most so many bytes; UnknownFileError where it is no longer kept."""


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
        self.healed_segments = 0
        self._tried: Digest | None = None  # what a step gave here that is not stood on yet

    def version(self) -> Version:
        """Return the version that the replica stands on, fetching whatever of it is missing."""
        return self._complete(self.position.digest)

    def segments(self) -> tuple[str, ...]:
        """Return the paths of theta's segments, in order."""
        return tuple(str(self._store.path(d)) for d in self.version().theta)

    def start_at(self, record: Record) -> None:
        """Stand on the version that a record names; download what is missing."""
        self._complete(record.digest)
        self.position = Position(LogHead.at(record), record.version, record.digest)

    @property
    def is_whole(self) -> bool:
        """Whether all files of the version that it stands on are here."""
        return self._is_here(self.position.digest)

    @property
    def behind(self) -> bool:
        """Whether the version that it stands on is not the one of the newest record followed."""
        return self.position.behind

    def sync(self) -> None:
        """Make the names of its files durable: whoever remembers its position needs them."""
        self._store.sync()

    def read(self, digest: Digest) -> bytes:
        """Return one file of the version."""
        return self._store.read(digest)

    def follow(self, records: Sequence[Record], snapshot_seq: int = -1) -> bool:
        """Follow the next records to the version of the last one; return whether it moved there.

        It goes the way of the fewest bytes (`worker/rounds/catch_up.py`). Where the files to get
        there are not kept any more it stays where it stands, `behind`, and the log goes on all the
        same.

        Args:
            records: the next ones of the log, at least one.
            snapshot_seq: of the record whose version is kept for longest; it need not be there.

        Raises:
            ProtocolError, DivergedError: they do not follow in this log; nothing changed.
            DivergedError: a step does not give its record's digest; it stays where it stands.
        """
        past, leads_on = self.position.past(self._genesis, records), self.position.leads_on(records)
        if leads_on and self._reach(records, snapshot_seq):
            self._tried = None
            self.position = past.caught_up()
            return True
        if leads_on:
            log.info("version %d is no longer kept: going on to a later one", past.log.version)
        self.position = past
        return False

    def retry(self, num_records: int) -> bool:
        """Stand on the version that it is behind, if it is kept now; return whether it moved there.

        Where more records are on their way, it waits for them: `follow` finds what is kept then.

        Args:
            num_records: of the whole log.
        """
        at = self.position
        if not at.waits_for_files(num_records):
            return False
        try:
            self._complete(at.log.digest)
        except UnknownFileError:
            return False
        self.position = at.caught_up()
        return True

    def attempt(self, record: Record) -> None:
        """Compute the next record's step, and stay where it stands.

        Raises:
            DivergedError: it does not give the record's digest.
            BadCommitError: it is no step from here.
            UnknownFileError: its aggregate is no longer kept.
        """
        assert record.commit is not None
        self._step(self.position.digest, record, record.commit)
        self._tried = record.digest

    def _reach(self, records: Sequence[Record], snapshot_seq: int) -> bool:
        for whole in self._ways(records, snapshot_seq):
            try:
                self._go(records, whole)
            except UnknownFileError:
                log.info("a file on the way to version %d is no longer kept", records[-1].version)
            else:
                return True
        return False

    def _ways(self, records: Sequence[Record], snapshot_seq: int) -> Iterator[int | None]:
        """Yield the ways over the records, the cheapest first: which version is fetched whole."""
        genesis, has, behind = self._genesis, self._store.has, self.position.behind
        steps = [0 if self._is_tried(r) else step_bytes(r, has) for r in records]
        steps_first = not behind and are_cheap(genesis, steps)
        if steps_first:
            yield None
        wholes = {}
        for i, record in enumerate(records):
            is_last = i == len(records) - 1
            if is_last or record.rollback is not None or record.seq == snapshot_seq:
                with suppress(UnknownFileError):
                    version = self._document(record.digest)
                    wholes[i] = version_bytes(genesis, version, has)
        for way in ways(steps, wholes, behind=behind):
            if way.whole is not None:
                log.info("version %d comes whole", records[way.whole].version)
            elif steps_first:
                continue
            yield way.whole
        yield from (i for i in reversed(range(len(records))) if i not in wholes)  # whatever is kept

    def _go(self, records: Sequence[Record], whole: int | None) -> None:
        """Have the files of the last record's version here, by its steps from a version whole."""
        digest = self.position.digest
        if whole is not None:
            digest = records[whole].digest
            self._complete(digest)
        for record in records[0 if whole is None else whole + 1 :]:
            if record.commit is None:
                self._complete(record.digest)
            elif not self._is_tried(record):
                self._step(digest, record, record.commit)
            digest = record.digest
            if len(records) > 1:
                self.collect(digest)

    def _is_tried(self, record: Record) -> bool:
        return record.digest == self._tried and self._is_here(record.digest)

    def _is_here(self, digest: Digest) -> bool:
        has = self._store.has
        return has(digest) and all(map(has, canonical.decode(self.read(digest), Version).blobs()))

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

        check_aggregate(layout, commit.side_values, commit.survivors, kappa, read)

    def collect(self, *keep: Digest) -> None:
        """Delete every file but those of the current version and of the versions `keep`."""
        files: set[Digest] = set()
        for digest in {self.position.digest, self._tried, *keep}:
            if digest is not None and self._store.has(digest):
                version = canonical.decode(self._store.read(digest), Version)
                files |= {digest, *version.blobs()}
        self._store.retain(files)

    def _step(self, base: Digest, record: Record, commit: Commit) -> None:
        version = self._complete(base)
        check_plan(self._genesis, version, commit.plan)  # how long its sum may be
        self._fetch_aggregate(commit)
        if (found := self._advance(version, commit)) == record.digest:
            return
        suspects = (commit.aggregate, *version.blobs())
        damaged = self._store.damaged(suspects)
        if not damaged:
            raise DivergedError(  # rule 14
                f"version {record.version}: replaying gives {found[:16]}... and the log says "
                f"{record.digest[:16]}..., although the base's files are sound: this process and "
                "the coordinator do not compute alike; compare their crosscloud and numpy versions"
            )
        for digest in damaged:
            self._fetch(digest, "version", max(MAX_DOCUMENT_BYTES, commit.aggregate_bytes))
        self.healed_segments += len(damaged)
        log.warning("healed %d damaged file(s) of version %d", len(damaged), commit.plan.version)
        if (found := self._advance(version, commit)) != record.digest:
            raise DivergedError(f"version {record.version}: healing did not help: {found[:16]}...")

    def _fetch_aggregate(self, commit: Commit) -> None:
        if not self._store.has(commit.aggregate):
            plan = commit.plan
            layout = round_layout(self._genesis, plan.bits, plan.fragment)
            most_bytes = layout.aggregate_bytes(len(plan.offers))
            self._fetch(commit.aggregate, "aggregate", most_bytes)

    def _advance(self, version: Version, commit: Commit) -> Digest:
        def read_aggregate(offset: int, length: int) -> bytes:
            return self._store.read_slice(commit.aggregate, offset, length)

        after = advance(
            self._genesis,
            version,
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
                self._fetch(blob, "version", _SEGMENT_BYTES)
        return version

    def _document(self, digest: Digest) -> Version:
        if not self._store.has(digest):
            self._fetch(digest, "version", MAX_DOCUMENT_BYTES)
        return canonical.decode(self._store.read(digest), Version)
