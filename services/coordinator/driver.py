"""The imperative shell around `coordinator.run`: feeds it events, carries its effects out in order.

One task at a time owns the core: `feed` holds a lock from the decision to the last effect, so
nothing can come between a check and the change that it allowed, and nothing is sent before it is
durable. What was decided is carried out to the end, even if whoever fed it is gone by then; where
that fails, the run cannot go on in this process.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from common.documents import Record
from common.errors import CrosscloudError, StorageError
from common.ids import SessionId
from coordinator.ports import (
    Append,
    Compute,
    Delete,
    DropSpool,
    Effect,
    Event,
    Finish,
    Forgotten,
    LeftOut,
    Message,
    Note,
    NotRolledBack,
    OpenSpool,
    Publish,
    Put,
    Restore,
    Save,
    Seal,
    Send,
)
from services.disk.files import patiently

log = logging.getLogger(__name__)


class Core(Protocol):
    """`coordinator.run.Run`."""

    def handle(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        """Decide."""


class LiveState(Protocol):
    """`services.coordinator.live.store.Store`, the part that the driver uses."""

    async def apply(self, changes: tuple[Put | Delete, ...]) -> None:
        """Return once the changes are in the store."""


class CommitLog(Protocol):
    """`services.coordinator.kept.log_store.LogStore`, the part that the driver uses."""

    def append(self, record: Record) -> None:
        """Return once the record is durable."""


class Works(Protocol):
    """The bulk and the commit process, and the open sessions."""

    async def to_bulk(self, effect: OpenSpool | Seal | DropSpool) -> None:
        """Hand over; answers come as events."""

    async def to_commit(self, effect: Compute) -> None:
        """Hand over; the answer comes as an event."""

    async def restore(self, version: int) -> None:
        """Have an earlier version's files made complete; the answer comes as an event."""

    async def send(self, session: SessionId, message: Message) -> None:
        """Queue for one session; a session that is gone is not an error."""

    async def publish(self, record: Record) -> None:
        """Let every follower of the log know."""


class Driver:
    """Runs one run. See the module docstring."""

    def __init__(
        self,
        core: Core,
        *,
        store: LiveState,
        commit_log: CommitLog,
        works: Works,
        now_s: Callable[[], float],
        watch: Callable[[Effect, float], None],
    ) -> None:
        self._core = core
        self._store = store
        self._commit_log = commit_log
        self._works = works
        self._now_s = now_s
        self._watch = watch
        self._turn = asyncio.Lock()
        self._turns: set[asyncio.Task[None]] = set()
        self._ends: list[_End] = []
        self._log_thread = ThreadPoolExecutor(1, thread_name_prefix="log")
        self.finished: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def feed(self, event: Event) -> None:
        """Apply `event`, then carry out every effect in order.

        Raises:
            ProtocolError: the event is not allowed now; nothing changed.
            StorageError: an effect failed; `finished` holds why, and this process must end.
        """
        await self._take_turn(event)

    async def feed_until(self, event: Event, ends: Callable[[Effect], bool]) -> Effect:
        """Feed `event`, then wait until an effect that ends what it began is carried out.

        Whoever stops waiting takes nothing back.

        Args:
            ends: says of an effect, of this event or of a later one, whether it does.

        Raises:
            ProtocolError, StorageError: as `feed`; the latter also while it waits.
        """
        end = _End(ends, asyncio.get_running_loop().create_future())
        try:
            await self._take_turn(event, end)
            return await end.reached
        finally:
            end.reached.cancel()
            if end in self._ends:
                self._ends.remove(end)

    async def _take_turn(self, event: Event, end: "_End | None" = None) -> None:
        turn = asyncio.create_task(self._turn_of(event, end))
        self._turns.add(turn)
        turn.add_done_callback(self._turn_ended)
        await asyncio.shield(turn)  # a stream that breaks cancels its reader

    def _turn_ended(self, turn: asyncio.Task[None]) -> None:
        """Forget a turn. Whoever fed it may be gone: only a bug of ours is told here."""
        self._turns.discard(turn)
        if turn.cancelled():  # the process ends
            return
        if (e := turn.exception()) is not None and not isinstance(e, CrosscloudError):
            log.error("a turn failed", exc_info=e)

    async def _turn_of(self, event: Event, end: "_End | None") -> None:
        async with self._turn:
            if self.finished.done() and self.finished.exception() is not None:
                raise StorageError("this coordinator is ending: it could not go on")
            effects = self._core.handle(event, self._now_s())
            if end is not None:  # not before: an earlier event's end is not this one's
                self._ends.append(end)
            try:
                await self.carry_out(effects)
            except Exception as e:
                if not self.finished.done():
                    self.finished.set_exception(e)
                    self.finished.exception()  # seen: whoever waits for it may be ending already
                failed = StorageError(f"this coordinator cannot go on: {e}")
                for waiting in self._ends:
                    waiting.fail(failed)
                raise failed from e

    async def carry_out(self, effects: tuple[Effect, ...]) -> None:
        """Carry out effects in order; only for those of the core's start and for `feed`."""
        for effect in effects:
            began_s = self._now_s()
            await self._carry_out(effect)
            self._watch(effect, self._now_s() - began_s)
            for end in self._ends:
                end.see(effect)

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Save():
                await self._store.apply(effect.changes)
            case Append():
                loop = asyncio.get_running_loop()
                append = self._commit_log.append
                await loop.run_in_executor(self._log_thread, patiently, append, effect.record)
            case OpenSpool() | Seal() | DropSpool():
                await self._works.to_bulk(effect)
            case Compute():
                await self._works.to_commit(effect)
            case Restore(version):
                await self._works.restore(version)
            case Send():
                await self._works.send(effect.session, effect.message)
            case Publish():
                await self._works.publish(effect.record)
                _tell(effect.record)
            case Note():
                _say(effect.kind, effect.sentence, worker=effect.worker, round=effect.round)
            case LeftOut():
                why = f"{effect.worker} of round {effect.round}: {effect.why}"
                _say("left out", why, worker=effect.worker, round=effect.round)
            case Forgotten():
                log.warning("the store: %s counts as lost: %s", effect.key, effect.why)
            case NotRolledBack():
                log.warning("not rolled back: version %d: %s", effect.version, effect.detail)
            case Finish():
                if not self.finished.done():
                    self.finished.set_result(effect.reason)
            case _:
                assert_never(effect)


_ACTS: Final = {"pause": "paused", "resume": "resumed", "stop": "stopped"}


def _tell(record: Record) -> None:
    """Say how a round ended, or what an operator, or a limit of the run, has done."""
    version = record.version
    if (commit := record.commit) is not None:
        by, made_in = ", ".join(commit.survivors), commit.plan.round
        _say("committed", f"version {version} by {by} in round {made_in}", round=made_in)
    elif (abort := record.abort) is not None:
        why = f"round {abort.round}: {abort.reason}: {abort.detail}"
        _say("aborted", why, logging.WARNING, round=abort.round)
    elif (control := record.control) is not None:
        why = f": {control.detail}" if control.detail else ""
        done = _ACTS.get(control.action, control.action)
        _say(done, f"by {control.by}, at version {version}{why}")
    elif (back := record.rollback) is not None:
        _say("rolled back", f"by {back.by}, version {back.version} is version {version} now")


def _say(event: str, sentence: str, level: int = logging.INFO, **about: str | None) -> None:
    known = {field: value for field, value in about.items() if value is not None}
    log.log(level, "%s: %s", event, sentence, extra={"event": event, **known})


@dataclass(frozen=True, slots=True)
class _End:
    """What somebody waits for."""

    ends: Callable[[Effect], bool]
    reached: "asyncio.Future[Effect]"

    def see(self, effect: Effect) -> None:
        if not self.reached.done() and self.ends(effect):
            self.reached.set_result(effect)

    def fail(self, error: StorageError) -> None:
        if not self.reached.done():
            self.reached.set_exception(error)
            self.reached.exception()  # seen: whoever waits may have heard of it by the turn
