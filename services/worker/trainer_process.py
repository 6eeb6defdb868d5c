"""The trainer process: one learner, driven by the link process over a socket that it inherits.

    Build -> Ready -> Begin -> [ messages that wait; then one step, if it may ] until end of file

It handles messages between two steps and never waits for anything remote while it may train. When
the link dies it ends at once, also while it builds its learner: what is not in a folder by then is
lost, as in any kill. A slowed or limited pace waits on the socket, so a message never waits for the
pace.
"""

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from common.errors import (
    ConfigError,
    CrosscloudError,
    DamagedDataError,
    ToldToEndError,
    UnexpectedMessageError,
)
from common.text import printable
from services.disk.data_store import DataStore
from services.observe.process_memory import resident_bytes
from services.process.exit_status import Exit, exit_of
from services.versions.first_version import make_first_version
from services.wire.child import Line
from services.worker.messages import (
    TO_TRAINER,
    Begin,
    Budget,
    Build,
    Clock,
    Close,
    Closed,
    Failed,
    Merge,
    Merged,
    Progress,
    Quit,
    Ready,
    Release,
    Return,
    Saved,
    SaveTo,
)
from worker.training.learner import LearnerContext, make_learner
from worker.training.train import Standing, Trainer

_PROGRESS_INTERVAL_S: Final = 0.25
_SMOOTHING: Final = 0.1

T = TypeVar("T")


class Answers(Protocol):
    """`services.wire.child.Line`, the part that speaks to the link."""

    def send(self, message: object) -> None:
        """Send one message."""


class PacedTrainer:
    """One trainer between two messages: what each message does, and when the next step is due.

    Args:
        line: to the link.
        build: what to train and how fast.
        now_s: monotonic clock.
    """

    def __init__(
        self, line: Answers, build: Build, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        genesis = build.genesis
        context = LearnerContext(
            settings=genesis.settings,
            data=build.data,
            seed=genesis.seed,
            name=build.name,
            device=build.device,
            num_threads=build.num_threads,
            order=build.order,
            folders=build.folders,
        )
        self._line = line
        self._now_s = now_s
        learner = make_learner(genesis.learner, context)
        self._remarks = tuple(map(printable, learner.remarks()))
        self.trainer = Trainer(learner, genesis.algorithm)
        if build.first_version:
            store = DataStore(Path(build.first_version))
            make_first_version(genesis, self.trainer.vector, store)
        self._slowdown, self._max_steps_per_s = build.slowdown, build.max_steps_per_s
        self._budget = Budget(genesis.algorithm.local_steps, paused=False)
        self._meter = _Meter()
        self.next_step_at = -math.inf  # all times are of `now_s`
        self._reported_at = -math.inf

    @property
    def ready(self) -> Ready:
        """The first message to the link."""
        return Ready(self.trainer.schema_hash, self._remarks)

    def may_step(self) -> bool:
        """Return whether a step may be taken once it is due."""
        b = self._budget
        return not b.paused and self.trainer.may_step(b.local_steps, b.rounds_ahead)

    def waited(self, since_s: float) -> None:
        """The link said something after a wait."""
        self._meter.idle_s += self._now_s() - since_s
        self.report()

    def step(self) -> None:
        """Take one step, and say so now and then."""
        start = self._now_s()
        step = self.trainer.step()
        end = self._now_s()
        step_s = end - start
        if self._max_steps_per_s:
            step_s = max(step_s, 1 / self._max_steps_per_s)
        step_s *= self._slowdown
        self.next_step_at = start + step_s
        self._meter.count(step.tokens, step.loss, step_s)
        if end - self._reported_at >= _PROGRESS_INTERVAL_S:
            self.report()

    def handle(self, message: object) -> None:
        """Do what the link says, and answer."""
        match message:
            case Begin():
                self._begin(message)
            case Budget():
                self._budget = message
            case Close():
                frozen = self.trainer.close(message.round, Path(message.folder))
                loss_2_20 = max(0, round(frozen.loss * 2**20))
                self.report()  # what was pending is in the round
                self._line.send(Closed(message.round, frozen.numbers, loss_2_20, frozen.finite))
            case Merge():
                head, anchor = _paths(message.head), _paths(message.anchor)
                if message.round:
                    self.trainer.release(message.round, message.fate)
                self.trainer.merge(_standing(message.clock), head, anchor)
                self.report()
                self._line.send(Merged(self.trainer.version))
            case Return():
                self.trainer.roll_back(_standing(message.clock), _paths(message.segments))
                self.report()  # what was pending is not any more
                self._line.send(Merged(self.trainer.version))
            case Release():
                self.trainer.release(message.round, message.fate)
            case SaveTo():
                self.trainer.save(Path(message.folder))
                self._line.send(Saved(message.folder, self.trainer.version))
            case _:
                raise UnexpectedMessageError(f"{type(message).__name__} came while training")

    def _begin(self, message: Begin) -> None:
        if message.resume:
            try:
                self.trainer.resume(_standing(message.clock), Path(message.resume))
            except DamagedDataError as e:  # the next start would find the same
                raise ConfigError(f"state_dir: {e}") from None
        else:
            self.trainer.begin(_standing(message.clock), _paths(message.segments))

    def report(self) -> None:
        """Send `Progress`."""
        meter = self._meter
        self._reported_at = self._now_s()
        self._line.send(
            Progress(
                steps=meter.steps,
                tokens=meter.tokens,
                pending=self.trainer.pending(),
                speed=meter.step_tokens / meter.step_s if meter.step_s else 0.0,
                steps_per_s=1 / meter.step_s if meter.step_s else 0.0,
                busy_s=meter.busy_s,
                idle_s=meter.idle_s,
                loss=meter.loss,
                resident_bytes=resident_bytes(),
            )
        )


def run(line: Line, trainer: PacedTrainer) -> None:
    """Train until `Quit`.

    Raises:
        EOFError: the link ended.
    """
    line.send(trainer.ready)
    trainer.handle(_expect(line.receive(), Begin))
    while True:
        if trainer.may_step():
            message = line.receive(max(0.0, trainer.next_step_at - time.monotonic()))
        else:
            message = _wait(line, trainer)
        match message:
            case None:
                trainer.step()
            case Quit():
                return
            case _:
                trainer.handle(message)


def _wait(line: Line, trainer: PacedTrainer) -> object:
    """Block until the link says something, and report before and after."""
    trainer.report()
    since_s = time.monotonic()
    message = line.receive()
    trainer.waited(since_s)
    return message


@dataclass(slots=True)
class _Meter:
    """Totals since the process started; step_s, step_tokens and loss are smoothed, per step."""

    steps: int = 0
    tokens: int = 0
    busy_s: float = 0.0
    idle_s: float = 0.0
    step_s: float = 0.0
    step_tokens: float = 0.0
    loss: float = 0.0

    def count(self, tokens: int, loss: float, step_s: float) -> None:
        """Count one step that took `step_s`, pacing included."""
        self.steps += 1
        self.tokens += tokens
        self.busy_s += step_s
        weight = max(_SMOOTHING, 1 / self.steps)
        self.step_s += weight * (step_s - self.step_s)
        self.step_tokens += weight * (tokens - self.step_tokens)
        if math.isfinite(loss):
            self.loss += weight * (loss - self.loss)


def _paths(names: tuple[str, ...]) -> tuple[Path, ...]:
    return tuple(Path(name) for name in names)


def _standing(clock: Clock) -> Standing:
    return Standing(clock.version, clock.progress, clock.member_steps)


def _expect(message: object, kind: type[T]) -> T:
    if not isinstance(message, kind):
        raise UnexpectedMessageError(f"{type(message).__name__} came before {kind.__name__}")
    return message


def main() -> int:
    """Run the process; everything that it has to know comes over the line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    line = Line(parser.parse_args().fd, TO_TRAINER)
    try:
        line.hold()
        run(line, PacedTrainer(line, _expect(line.receive(), Build)))
    except (EOFError, ToldToEndError):
        return Exit.OVER
    except Exception as e:
        expected = isinstance(e, CrosscloudError | OSError)
        crash = f"the trainer crashed, see its output: {type(e).__name__}: {e}"
        with contextlib.suppress(EOFError):
            by_settings = isinstance(e, ConfigError)
            line.send(Failed(printable(str(e) if expected else crash), by_settings))
        if not expected:
            raise
        return exit_of(e)
    return Exit.OVER


if __name__ == "__main__":
    sys.exit(main())
