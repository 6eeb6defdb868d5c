"""Tells which workers have not joined yet, and when to say so. Pure: time is an argument."""

from collections.abc import Sequence

from services.wire.operator_link import RunStatus


class Absent:
    """Remembers who was seen; whoever joined once has not stayed away.

    Args:
        names: of the workers that are expected.
        patience_s: after so long they are named, and again after as long.
        now_s: the present.
    """

    def __init__(self, names: Sequence[str], patience_s: float, now_s: float) -> None:
        self._missing = dict.fromkeys(names)
        self._patience_s = patience_s
        self._since_s = now_s

    def due(self, status: RunStatus | None, now_s: float) -> tuple[str, ...]:
        """Return whom to name now; mostly nobody.

        Args:
            status: of the run; None where the coordinator does not answer.
        """
        for worker in () if status is None else status.workers:
            self._missing.pop(worker.name, None)
        if not self._missing or now_s < self._since_s + self._patience_s:
            return ()
        self._since_s = now_s
        return tuple(self._missing)
