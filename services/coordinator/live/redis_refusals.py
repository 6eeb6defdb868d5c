"""What a Redis server's refusals mean: one table, for the start, for leading and for `doctor`.

A server that does not answer is an outage, and none of this. One that answers "no" is asked again,
too, but not always the same way:

    PASSES      it can later: asked again on the same connection, also at start
    ELSEWHERE   another server is the one that can: the connection is closed and the address dialled
                anew, because an address that follows the primary leads there by then
    OPERATOR    nothing but a person's hand changes that: dialled anew as well, since what was
                mended may hold for new connections only

At start the last two end the process with the sentence: a run must not begin where it cannot work.
A refusal that does not stand in the table counts as OPERATOR's.
"""

import enum
import re
from dataclasses import dataclass
from typing import Final

from redis.exceptions import (
    AskError,
    AuthenticationError,
    BusyLoadingError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from typing_extensions import override


class Kind(enum.Enum):
    """See the module docstring."""

    PASSES = "passes"
    ELSEWHERE = "elsewhere"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a server refused.

    Args:
        code: the first word of its answer, or what that word would be.
        answer: the rest.
        fix: what to do, or what passes.
    """

    code: str
    kind: Kind
    answer: str
    fix: str

    @override
    def __str__(self) -> str:
        return f"{self.code} {self.answer}; {self.fix}"


_USER: Final = "give the user of redis_url what docs/runbook.md lists (keys, commands)"
_PRIMARY: Final = "redis_url has to lead to the primary, or to an address that follows it"
_CLUSTER: Final = "it is one node of a cluster: write redis+cluster:// or rediss+cluster://"

TABLE: Final = {
    "LOADING": (Kind.PASSES, "it reads its files back, which passes"),
    "BUSY": (Kind.PASSES, "it runs somebody's slow script, which passes, or SCRIPT KILL ends it"),
    "OOM": (Kind.PASSES, "it has no memory left: raise maxmemory, or free some"),
    "MISCONF": (Kind.PASSES, "it cannot write its snapshots: look at its disk and its log"),
    "NOREPLICAS": (Kind.PASSES, "it waits for its replicas (min-replicas-to-write)"),
    "TRYAGAIN": (Kind.PASSES, "the cluster moves these keys just now, which passes"),
    "ASK": (Kind.PASSES, "the cluster moves these keys just now, which passes"),
    "CLUSTERDOWN": (
        Kind.PASSES,
        "no primary has this run's keys now: see CLUSTER INFO",
    ),
    "MAXCLIENTS": (Kind.PASSES, "it has too many connections: raise maxclients, or end some"),
    "READONLY": (Kind.ELSEWHERE, f"it is a replica: {_PRIMARY}"),
    "MASTERDOWN": (Kind.ELSEWHERE, f"it is a replica that lost its primary: {_PRIMARY}"),
    "MOVED": (Kind.OPERATOR, _CLUSTER),
    "CROSSSLOT": (Kind.OPERATOR, _CLUSTER),
    "NOCLUSTER": (Kind.OPERATOR, "it is no cluster: write redis:// or rediss://"),
    "NOPERM": (Kind.OPERATOR, _USER),
    "NOAUTH": (
        Kind.OPERATOR,
        "redis_url lacks a password: write redis://USER:PASSWORD@HOST:6379/0",
    ),
    "WRONGPASS": (Kind.OPERATOR, "correct the user or the password in redis_url"),
    "DENIED": (Kind.OPERATOR, "it is in protected mode: give it a password and redis_url the same"),
    "NOSCRIPT": (
        Kind.OPERATOR,
        "it forgets scripts at once: redis_url has to lead to one server, not to several in turn",
    ),
    "UNKNOWN": (
        Kind.OPERATOR,
        "it lacks a command: run Redis or Valkey itself, with EVALSHA",
    ),
    "DB": (Kind.OPERATOR, "correct the number of the database at the end of redis_url"),
    "ERR": (Kind.OPERATOR, "look at its log"),
}
"""code -> what it means, and the fix. Codes that no server says are names of its `ERR` answers."""

_BY_CLASS: Final = (  # the client takes these codes off the text; the narrower class first
    (BusyLoadingError, "LOADING"),
    (ReadOnlyError, "READONLY"),
    (MasterDownError, "MASTERDOWN"),
    (ClusterDownError, "CLUSTERDOWN"),
    (MovedError, "MOVED"),
    (AskError, "ASK"),
    (TryAgainError, "TRYAGAIN"),
    (ClusterCrossSlotError, "CROSSSLOT"),
    (NoPermissionError, "NOPERM"),
    (NoScriptError, "NOSCRIPT"),
    (OutOfMemoryError, "OOM"),
    (AuthenticationError, "WRONGPASS"),
)
_BY_WORDS: Final = (
    ("max number of clients", "MAXCLIENTS"),
    ("Authentication required", "NOAUTH"),
    ("must be called with the client already authenticated", "NOAUTH"),
    ("invalid username-password pair", "WRONGPASS"),
    ("permissions to", "NOPERM"),
    ("unknown command", "UNKNOWN"),
    ("DB index", "DB"),
    ("Cluster mode is not enabled", "NOCLUSTER"),
    ("cluster support disabled", "NOCLUSTER"),
    ("The user executing the script can't", "NOPERM"),
)
_IN_SCRIPT: Final = re.compile(r"-([A-Z]{2,}) ")
"""How servers before version 7 pass on what a command inside a script was refused with."""

_WHERE: Final = re.compile(r"\.? script: .*$")


def refusal_of(e: BaseException) -> Refusal | None:
    """Return what a server refused; None where it gave no answer at all."""
    said = " ".join(str(e).split())
    code = next((code for words, code in _BY_WORDS if words in said), "")
    code = code or next((code for kind, code in _BY_CLASS if isinstance(e, kind)), "")
    if not code and isinstance(e, ResponseError):
        code, said = _split(said)
    if not code:
        return None
    kind, fix = TABLE[code]
    return Refusal(code, kind, _WHERE.sub("", said).rstrip("."), fix)


def _split(said: str) -> tuple[str, str]:
    """Return the code in an answer of which the client knows none, and the rest."""
    first, _, rest = said.partition(" ")
    if first in TABLE:
        return first, rest
    inner = _IN_SCRIPT.search(said)
    if inner and inner[1] in TABLE:
        return inner[1], said[inner.end() :]
    return "ERR", said
