"""Logging of every process: lines for people, or one JSON object per line for machines.

Every object has `run` and `process`, a worker's also `worker`, so that one stream can hold a whole
federation. Whatever a call passes as `extra` becomes a field: `round` and `worker` where a line is
about one, `event` for what the coordinator tells of its run. What others wrote begins no line and
reaches no terminal's controls. It never prints settings or environment, and of a URL never what
stands before its @, a library's traceback included.
"""

import datetime
import json
import logging
import sys
from collections.abc import Mapping
from typing import IO, Any, Final, Literal

from typing_extensions import override

from common.text import printable
from services.config.secret_urls import masked

_OWN: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def configure(
    format: Literal["console", "json"],
    level: str,
    *,
    run: str,
    process: str,
    worker: str = "",
    stream: IO[str] | None = None,
) -> None:
    """Send everything from `level` on to `stream`, by default standard error.

    Args:
        process: which one this is, such as "worker aws".
        worker: its name, where it is one.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    own = {"run": run, "process": process} | ({"worker": worker} if worker else {})
    handler.setFormatter(JsonFormatter(own) if format == "json" else ConsoleFormatter(process))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.captureWarnings(True)


class ConsoleFormatter(logging.Formatter):
    """`12:34:56 worker aws  INFO  sentence`, local time. A traceback's lines are set in."""

    def __init__(self, process: str) -> None:
        super().__init__(f"%(asctime)s {process:<12.24} %(levelname)-7s %(message)s", "%H:%M:%S")

    @override
    def format(self, record: logging.LogRecord) -> str:
        return masked(super().format(record))

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = printable(record.message)
        return super().formatMessage(record)

    @override
    def formatException(self, ei: Any) -> str:
        lines = super().formatException(ei).split("\n")
        return "\n".join(f"  {printable(line)}" for line in lines)


class JsonFormatter(logging.Formatter):
    """One object per line; `time` is UTC.

    Args:
        same: fields of every line.
    """

    def __init__(self, same: Mapping[str, str]) -> None:
        super().__init__()
        self._same = same

    @override
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        fields = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._same,
            "message": printable(record.getMessage()),
            **{k: _shown(v) for k, v in vars(record).items() if k not in _OWN},
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return masked(json.dumps(fields, default=str))


def _shown(value: object) -> object:
    return printable(value) if isinstance(value, str) else value
