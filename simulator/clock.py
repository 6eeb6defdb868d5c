"""Virtual time: an asyncio event loop whose clock jumps to the next thing that will happen.

Nothing sleeps: what asyncio hands to a thread is done at once, in turn, unless its host is paused
in the middle of it. So the services' own code runs here as it is, and the same seed gives the same
history.
"""

import asyncio
import functools
import heapq
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Final, TypeVar, TypeVarTuple, cast

from typing_extensions import override

from simulator.host import HOST, NOBODY, PAUSED, Host
from simulator.turn_thread import TurnThread

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_TRY_AGAIN_S: Final = 0.3


class TryAgainError(Exception):
    """Raised in what would block a thread: do all of it again `after_s` later.

    For calls that wait for a network. What they did before they waited must be fine to do twice.
    """

    def __init__(self, after_s: float = _TRY_AGAIN_S) -> None:
        super().__init__(f"again in {after_s:g} s")
        self.after_s = after_s


class NothingHappensError(Exception):
    """Everybody waits for something, and nothing is under way."""


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module docstring.

    A paused host's callbacks are held back until it goes on; a timer of it that ran out fires then.

    Args:
        pauses: whether hosts are ever paused.
    """

    def __init__(self, *, pauses: bool = True) -> None:
        super().__init__()
        self._pauses = pauses
        self._now_s = 0.0
        self._clock_resolution = 1e-6
        self._held: list[asyncio.Handle] = []
        self._ready: Any
        self._scheduled: Any
        self.set_task_factory(_task_of_host)

    @override
    def time(self) -> float:
        return self._now_s

    def _write_to_self(self) -> None:
        pass

    def _run_once(self) -> None:
        """Jump to the next timer where nothing is ready, then run what is ready by now."""
        if self._held or PAUSED:
            handles = [*self._held, *self._ready]
            self._held = [h for h in handles if _is_paused(h)]
            self._ready.clear()
            self._ready.extend(h for h in handles if not _is_paused(h))
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        if not self._ready:
            if not self._scheduled:
                raise NothingHappensError
            self._now_s = max(self._now_s, self._scheduled[0]._when)
        while self._scheduled and self._scheduled[0]._when < self._now_s + self._clock_resolution:
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            self._ready.append(timer)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if not handle._cancelled:
                handle._run()

    @override
    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        if not self._pauses:
            return super().call_at(when, callback, *args, context=context)

        # One turn later than the timer, so that `_run_once` sees whose it is.
        def fire() -> None:
            if not timer.cancelled():
                self.call_soon(callback, *args, context=context)

        timer = super().call_at(when, fire, context=context)
        return timer

    @override
    def run_in_executor(
        self, executor: object, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        self.call_soon(self._do, future, functools.partial(func, *args))
        return future

    def _do(self, future: asyncio.Future[T], call: Callable[[], T]) -> None:
        if future.done():
            return
        host, thread = HOST.get(), TurnThread(call)
        if host is not None and host.may_pause:
            self._go_on(future, call, host, thread)
        else:
            thread.run()
            self._done(future, call, thread)

    def _go_on(
        self, future: asyncio.Future[T], call: Callable[[], T], host: Host, thread: TurnThread
    ) -> None:
        if thread.go_on():
            self._done(future, call, thread)
        else:
            host.stopped = functools.partial(self._go_on, future, call, host, thread)

    def _done(self, future: asyncio.Future[T], call: Callable[[], T], thread: TurnThread) -> None:
        if isinstance(thread.error, TryAgainError):
            self.call_later(thread.error.after_s, self._do, future, call)
        elif future.done():
            pass
        elif thread.error is not None:
            future.set_exception(thread.error)
        else:
            future.set_result(thread.result)


def _task_of_host(
    loop: asyncio.AbstractEventLoop,
    work: Coroutine[Any, Any, T] | Generator[Any, None, T],
    context: Context | None = None,
) -> asyncio.Task[T]:
    """Make a task that dies with the host that it works for."""
    task = asyncio.Task(cast("Coroutine[Any, Any, T]", work), loop=loop, context=context)
    host = HOST.get() if context is None else context.get(HOST)
    if host is not None:
        host.tasks[task] = None
        task.add_done_callback(host.tasks.pop, context=NOBODY.copy())
    return task


def _is_paused(handle: asyncio.Handle) -> bool:
    host: Host | None = handle._context.get(HOST)  # type: ignore[attr-defined]
    return host is not None and host.paused
