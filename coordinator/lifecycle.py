"""Whether the run goes on: pause and resume, stop limits, and what the evaluator found.

Pausing needs no state of its own: the log's newest pause or resume decides (`RunHead.paused_by`). A
stop is only wanted here; the run carries it out at the next round boundary.
"""

from common.documents import Control, Evaluation, Stop
from common.errors import BadSignatureError, UnexpectedMessageError
from common.evaluations import evaluation_complaint
from common.ids import Digest
from common.parties import Admits
from coordinator.head import RunHead
from coordinator.ledger import Ledger
from coordinator.ports import (
    Command,
    Dismiss,
    Effect,
    Evaluated,
    Event,
    Finish,
    Joined,
    Note,
    Operated,
    RollbackAsked,
    Send,
)


class Lifecycle:
    """See the module docstring.

    Args:
        genesis: digest of the run's genesis.
        evaluators: says whose certificate it is that an evaluation holds.
    """

    def __init__(self, stop: Stop, ledger: Ledger, genesis: Digest, evaluators: Admits) -> None:
        self._limits = stop
        self._ledger = ledger
        self._genesis, self._evaluators = genesis, evaluators
        self.stop: Control | None = None

    @property
    def paused(self) -> bool:
        """Whether no cohort may close."""
        return bool(self._ledger.head.paused_by)

    def operate(self, event: Operated, now_s: float) -> tuple[Effect, ...]:
        """An operator asked for something; asking for what is so already is only noted."""
        match event.command:
            case Command.PAUSE | Command.RESUME:
                if (event.command is Command.PAUSE) == self.paused:
                    state = f"is paused by {self._ledger.head.paused_by}" if self.paused else "runs"
                    sentence = f"{event.by} asked; the run {state} already"
                    return (Note(event.command.value, sentence),)
                return self._ledger.control(Control(event.command.value, event.by, ""), now_s)
            case Command.STOP:
                if self.stop is not None:
                    return ()
                self.stop = Control(event.command.value, event.by, "asked for")
                return (Note("stopping", f"{event.by} asked for the end of the run"),)

    def evaluate(self, evaluation: Evaluation, now_s: float) -> tuple[Effect, ...]:
        """The evaluator reported; a version that it reported before changes nothing.

        Raises:
            BadSignatureError: no evaluator has signed it.
            UnexpectedMessageError: there is no such version yet, it is another here, or too old.
        """
        head = self._ledger.head
        if complaint := evaluation_complaint(evaluation, self._genesis, self._evaluators):
            raise BadSignatureError(complaint)
        if not 0 <= evaluation.version <= head.version:
            raise UnexpectedMessageError(
                f"version {evaluation.version} was evaluated, the run is at {head.version}"
            )
        digest = head.digest_of(evaluation.version)
        if digest is None:
            raise UnexpectedMessageError(
                f"version {evaluation.version} was evaluated, the run is at {head.version}: its "
                f"digest is not known any more, only the newest {len(head.digests)} are"
            )
        if evaluation.digest != digest:
            raise UnexpectedMessageError(
                f"version {evaluation.version} is {digest[:16]}... here, and "
                f"{evaluation.digest[:16]}... was evaluated"
            )
        if head.evaluation is not None and evaluation.version <= head.evaluation.version:
            return ()
        return self._ledger.evaluation(evaluation, now_s)

    def after_the_end(self, event: Event, now_s: float) -> tuple[Effect, ...]:
        """The run is over: whoever comes hears so.

        Raises:
            UnexpectedMessageError: somebody wants what an ended run cannot do.
        """
        stopped = self._ledger.head.stopped
        match event:
            case Joined():
                return (Send(event.session, Dismiss(finished=True, reason=stopped)),)
            case Evaluated():  # of the last version, most likely
                return self.evaluate(event.evaluation, now_s)
            case Operated(command=Command.STOP):
                return (Finish(stopped),)
            case RollbackAsked():
                raise UnexpectedMessageError(f"the run is over: {stopped}")
        return ()

    def due(self, now_s: float) -> Control | None:
        """Return why the run is to end at this round boundary; None = it is not."""
        if self.stop is None:
            limit = limit_reached(self._limits, self._ledger.head, self._ledger.elapsed_s(now_s))
            self.stop = Control(Command.STOP.value, "limit", limit) if limit else None
        return self.stop


def limit_reached(stop: Stop, head: RunHead, elapsed_s: float) -> str:
    """Return the limit that ends the run now, as a sentence; "" while none is reached."""
    if 0 < stop.versions <= head.version:
        return f"version {head.version} of {stop.versions}"
    if 0 < stop.tokens <= head.counters.tokens:
        return f"{head.counters.tokens} tokens of {stop.tokens}"
    if 0 < stop.hours <= elapsed_s / 3600:
        seconds = max(1, round(stop.hours * 3600))
        limit = f"{seconds} s" if seconds % 3600 else f"{seconds // 3600} h"
        return f"its limit of {limit} is over"
    loss = None if head.evaluation is None else head.evaluation.loss
    if stop.loss > 0 and loss is not None and loss <= stop.loss:
        return f"validation loss {loss:.4f} is at most {stop.loss:g}"
    return ""
