"""The commit process: from sealed uploads to the next version's durable files, in numpy.

    read K uploads -> aggregate file -> replay it on the base -> write segments -> fsync -> answer

It decides nothing: control appends the record after the answer, and that is the commit. Doing the
same work again gives the same file names and the same bytes. What it deletes, it deletes behind the
fence of its leader's epoch (`fence.py`); where a newer leader broke that down, it ends.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final

from common import canonical
from common.chain import advance
from common.codec.dense import Dense
from common.documents import Commit, Genesis, Version
from common.errors import (
    BadCommitError,
    BadNumbersError,
    BadUpdateError,
    DamagedDataError,
    StaleLeaderError,
    StorageError,
    StorageFullError,
    ToldToEndError,
)
from common.ids import Digest, RoundId
from common.rounds import AbortReason
from common.shards import unpack_energy
from common.terms import Terms, round_terms
from coordinator.ports import Compute, Computed, ComputeFailed, Restored, RestoreFailed
from coordinator.sums.saturation import expected_saturation
from coordinator.sums.summing import SUMMING
from services.coordinator.kept.compressed_files import CompressedFiles
from services.coordinator.kept.fence import Fence
from services.coordinator.kept.files import CoordinatorFiles
from services.coordinator.kept.spool import Spool
from services.coordinator.messages import (
    Collect,
    Collected,
    RestoreVersion,
    Summed,
    TakeOver,
    TookOver,
)
from services.coordinator.start import begin_child, settle
from services.disk.data_store import DataStore
from services.disk.files import patiently
from services.process.exit_status import Exit, exit_of
from services.wire.child import Line

log = logging.getLogger(__name__)

RECEIVES: Final = (TakeOver, Compute, RestoreVersion, Collect)
SENDS: Final = (TookOver, Summed, Computed, ComputeFailed, Restored, RestoreFailed, Collected)

_THREADS: Final = 4
"""More than cores, since some wait for the disk; each costs memory, see `advance`."""

_REASONS: Final = (
    (BadUpdateError, AbortReason.BAD_UPDATE),
    (BadNumbersError, AbortReason.BAD_UPDATE),
    (BadCommitError, AbortReason.BAD_UPDATE),
    (DamagedDataError, AbortReason.DAMAGED_SHARD),
    (StorageFullError, AbortReason.STORAGE_FULL),
    (StorageError, AbortReason.STORAGE_FAILED),
)


class Computer:
    """Computes versions.

    Args:
        spool: where sealed uploads lie; it is only read.
        store: where versions and aggregates lie.
        pool: works on segments; numpy, hashing and the disk all let other threads run.
        tell: is told what a version cost, before the answer.
    """

    def __init__(
        self,
        genesis: Genesis,
        spool: Spool,
        store: DataStore,
        pool: Executor,
        tell: Callable[[Summed], None] = lambda _: None,
    ) -> None:
        self._tell = tell
        self._pool = pool
        self._genesis = genesis
        self._spool = spool
        self._store = store
        self._compressed = CompressedFiles(store)
        self._fence: Fence

    def work(self, order: object) -> object:
        """Carry one order out and return the answer."""
        match order:
            case TakeOver(epoch):
                return self.take_over(epoch)
            case Compute():
                return self.compute(order)
            case RestoreVersion():
                return patiently(self.restore, order)
            case Collect():
                return patiently(self.collect, order)
        raise AssertionError(f"unexpected order {type(order).__name__}")

    def take_over(self, epoch: int) -> TookOver:
        """Let no earlier leader delete anything, and clear up what its end left half written.

        Raises:
            StaleLeaderError: another coordinator leads.
        """
        drafts = self._store.drafts()  # none of a newer leader's: that has made its trash before
        self._fence = Fence(self._store.root, epoch)
        num_files = self._fence.take_over()
        for draft in drafts:
            draft.unlink(missing_ok=True)
        return TookOver(num_files)

    def compute(self, order: Compute) -> Computed | ComputeFailed:
        """Return the new version, or why there is none; the old one stays in either case."""
        start_s = time.monotonic()
        try:
            commit, digest, step_length, saturation, sum_s = patiently(self._compute, order)
        except tuple(kind for kind, _ in _REASONS) as e:
            reason = next(reason for kind, reason in _REASONS if isinstance(e, kind))
            blamed = e.worker if isinstance(e, BadUpdateError) else None
            return ComputeFailed(RoundId(order.plan.round), reason, str(e), blamed)
        seconds = time.monotonic() - start_s
        self._tell(Summed(len(commit.survivors), step_length, seconds, sum_s, saturation))
        return Computed(RoundId(commit.plan.round), commit, digest)

    def _compute(self, order: Compute) -> tuple[Commit, Digest, float, float | None, float]:
        base = canonical.decode(self._store.read(order.plan.digest, verify=True), Version)
        numbers = order.numbers
        start_s = time.monotonic()
        terms = round_terms(self._genesis, base, order.plan, numbers, self._read)
        with contextlib.ExitStack() as open_files:
            uploads = {
                w: open_files.enter_context(
                    self._spool.reader(RoundId(order.plan.round), w, terms.layout)
                ).read
                for w in order.survivors
            }
            writer = open_files.enter_context(self._store.writer())
            add_up = SUMMING[order.plan.tier]
            side = add_up(terms, order.plan, order.secrets, uploads, writer.append)
            aggregate_bytes = writer.length
            aggregate_digest = writer.commit()
        sum_s = time.monotonic() - start_s
        commit = Commit(
            plan=order.plan,
            numbers=numbers,
            survivors=order.survivors,
            side_values=side,
            aggregate=aggregate_digest,
            aggregate_bytes=aggregate_bytes,
            signatures=order.signatures,
        )
        compressing = self._pool.submit(self._compressed.compress, commit.aggregate)
        try:
            step_lengths: list[float] = []
            version = self._advance(base, commit, step_lengths.append)
            digest = self._store.write(canonical.encode(version))
        finally:
            compressing.result()
        self._store.sync()
        return commit, digest, step_lengths[0], self._saturation(terms, commit), sum_s

    def _saturation(self, terms: Terms, commit: Commit) -> float | None:
        """Return the expected share of values clipped; None where the codec clips nothing."""
        codec, layout, num_survivors = terms.codec, terms.layout, len(commit.survivors)
        if not isinstance(codec, Dense):
            return None
        offset = layout.num_blocks * layout.aggregate_block_bytes(num_survivors)
        content = self._store.read_slice(commit.aggregate, offset, layout.energy_bytes)
        return expected_saturation(unpack_energy(content), num_survivors, codec.reach)

    def _advance(
        self, base: Version, commit: Commit, note_step: Callable[[float], None] | None = None
    ) -> Version:
        return advance(
            self._genesis,
            base,
            commit,
            lambda offset, length: self._store.read_slice(commit.aggregate, offset, length),
            self._read,
            self._store.write,
            self._pool,
            note_step,
        )

    def _read(self, digest: Digest) -> bytes:
        return self._store.read(digest, verify=True)

    def restore(self, order: RestoreVersion) -> Restored | RestoreFailed:
        """Make an earlier version's files complete again, from a kept one and its aggregates."""
        try:
            version = canonical.decode(self._store.read(order.base, verify=True), Version)
            for commit in order.commits:
                version = self._advance(version, commit)
            digest = self._store.write(canonical.encode(version))
            if digest != order.digest or self._store.damaged(version.blobs()):
                raise DamagedDataError("its files, or those that it follows from, are damaged")
            self._store.sync()
        except (BadCommitError, StorageError) as e:
            return RestoreFailed(order.version, str(e))
        return Restored(order.version, digest, version.commits)

    def collect(self, order: Collect) -> Collected:
        """Delete what no kept version needs.

        Raises:
            StaleLeaderError: another coordinator leads.
        """
        keep: set[Digest] = set(order.files)
        for digest in order.versions:
            if self._store.has(digest):
                version = canonical.decode(self._store.read(digest), Version)
                keep |= {digest, *version.blobs()}
        return Collected(self._store.retain(keep, self._fence.delete))


def serve(line: Line, computer: Computer) -> None:
    """Carry out orders until control ends."""
    with contextlib.suppress(EOFError):
        while True:
            line.send(computer.work(line.receive()))
    log.info("control ended")


def main() -> int:
    """Run as a child of control: `python -m services.coordinator.commit --fd N CONFIG`."""
    try:
        settings, genesis, line = begin_child("commit", RECEIVES)
        files = CoordinatorFiles(settings.data_dir)
        store = DataStore(files.data)
        settle()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="segment") as pool:
            computer = Computer(genesis, Spool(files.spool), store, pool, line.send)
            serve(line, computer)
    except StaleLeaderError as e:
        log.error("%s", e)
        return exit_of(e)
    except ToldToEndError:
        pass
    return Exit.OVER


if __name__ == "__main__":
    sys.exit(main())
