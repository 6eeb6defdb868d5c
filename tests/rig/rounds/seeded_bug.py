"""A bug on purpose, which the simulation must find: else a quiet simulation would say nothing."""

import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from itertools import count, islice
from typing import Any
from unittest import mock

from simulator.faults import Fault
from simulator.many import play

Patch = Callable[[], AbstractContextManager[Any]]
ENOUGH = 2
"""Of the histories that are tried with a bug, at least so many must find it."""


def patched(owner: Any, name: str, by: Any) -> Patch:
    return lambda: mock.patch.object(owner, name, by)


def nothing(seed: int) -> tuple[Fault, ...]:
    """Return no fault: the bug shows without one."""
    return ()


@dataclass(frozen=True)
class Bug:
    """One way to be wrong.

    Args:
        patches: what is wrong.
        faults: what happens in the history of a seed.
        said: pattern of what has to be reported.
        matters: in which histories the bug can show.
        harmless: what is patched in sound histories, too.
    """

    patches: tuple[Patch, ...]
    faults: Callable[[int], tuple[Fault, ...]]
    said: str
    matters: Callable[[int], bool] = lambda seed: True
    harmless: tuple[Patch, ...] = ()

    def is_found(self, num_tried: int) -> bool:
        """Return whether sound histories are quiet, and enough of those with the bug tell it."""
        seeds = list(islice(filter(self.matters, count()), num_tried))
        logging.disable(logging.CRITICAL)
        try:
            with ExitStack() as stack:
                for patch in self.harmless:
                    stack.enter_context(patch())
                if any(play(seed, self.faults(seed)) for seed in seeds[:2]):
                    return False
                for patch in self.patches:
                    stack.enter_context(patch())
                reports = (play(seed, self.faults(seed)) for seed in seeds)
                found = (report for report in reports if re.search(self.said, report))
                return len(list(islice(found, ENOUGH))) == ENOUGH
        finally:
            logging.disable(logging.NOTSET)
