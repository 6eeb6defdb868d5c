"""A learner whose build never ends by itself: it says that it has begun, and blocks.

The process's data settings say how: `began` names the file that gets its process id, `how` is
"waits", where a signal can be heard, or "stuck" in a library, where Python hears nothing.
"""

import ctypes
import os
from dataclasses import replace
from pathlib import Path
from threading import Event

from crosscloud import Learner, LearnerContext
from examples import own_learner


def build(context: LearnerContext) -> Learner:
    if context.data is None:  # for the genesis
        return own_learner.build(context)
    draft = Path(f"{context.data['began']}.tmp")
    draft.write_text(str(os.getpid()))
    draft.rename(context.data["began"])
    block(context.data["how"])
    raise AssertionError("it waited for nothing")


def fail(context: LearnerContext) -> Learner:
    if context.data is None:
        return own_learner.build(context)
    raise ZeroDivisionError("it has no cats")


def leave(context: LearnerContext) -> Learner:
    raise SystemExit(0)


def other(context: LearnerContext) -> Learner:
    """Build another model than the run's wherever there is data."""
    data = context.data
    width = 8 if data is None else 9
    settings = {**context.settings, "width": width}
    return own_learner.build(replace(context, settings=settings))


def nothing(context: LearnerContext) -> None:
    return None


def block(how: str) -> None:
    if how == "waits":
        Event().wait()
    mutex = ctypes.create_string_buffer(64)  # PTHREAD_MUTEX_INITIALIZER is zeros
    library = ctypes.CDLL(None)
    for _ in range(2):  # a normal mutex, locked twice, waits for ever, whatever signal comes
        library.pthread_mutex_lock(mutex)
