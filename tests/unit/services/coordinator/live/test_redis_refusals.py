"""The table, by what servers say word for word; the client's own parser reads it, as on a wire."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as NoConnectionError
from redis.exceptions import RedisClusterException, TimeoutError

from services.coordinator.live.redis_refusals import TABLE, Kind, refusal_of

IN_SCRIPT_6 = "ERR Error running script (call to f_1b93): @user_script:7: @user_script: 7: "
SAID = [
    ("LOADING Valkey is loading the dataset in memory", "LOADING", Kind.PASSES),
    ("BUSY Redis is busy running a script. You can only call SCRIPT KILL", "BUSY", Kind.PASSES),
    ("OOM command not allowed when used memory > 'maxmemory'.", "OOM", Kind.PASSES),
    (f"{IN_SCRIPT_6}-OOM command not allowed when used memory", "OOM", Kind.PASSES),
    ("MISCONF Redis is configured to save RDB snapshots, but it's", "MISCONF", Kind.PASSES),
    ("NOREPLICAS Not enough good replicas to write.", "NOREPLICAS", Kind.PASSES),
    ("TRYAGAIN Multiple keys request during rehashing of slot", "TRYAGAIN", Kind.PASSES),
    ("ASK 3999 127.0.0.1:6381", "ASK", Kind.PASSES),
    ("CLUSTERDOWN Hash slot not served", "CLUSTERDOWN", Kind.PASSES),
    ("ERR max number of clients reached", "MAXCLIENTS", Kind.PASSES),
    ("READONLY You can't write against a read only replica.", "READONLY", Kind.ELSEWHERE),
    (f"{IN_SCRIPT_6}-READONLY You can't write against", "READONLY", Kind.ELSEWHERE),
    (
        "READONLY You can't write against a read only replica. script: 3f, on @user_script:7.",
        "READONLY",
        Kind.ELSEWHERE,
    ),
    ("MASTERDOWN Link with MASTER is down and", "MASTERDOWN", Kind.ELSEWHERE),
    ("MOVED 3999 127.0.0.1:6381", "MOVED", Kind.OPERATOR),
    ("CROSSSLOT Keys in request don't hash to the same slot", "CROSSSLOT", Kind.OPERATOR),
    ("ERR This instance has cluster support disabled", "NOCLUSTER", Kind.OPERATOR),
    ("NOPERM User u has no permissions to run the 'evalsha' command", "NOPERM", Kind.OPERATOR),
    ("NOPERM No permissions to access a key", "NOPERM", Kind.OPERATOR),
    (
        "ERR ACL failure in script: User u has no permissions to run the 'get' command",
        "NOPERM",
        Kind.OPERATOR,
    ),
    ("ERR The user executing the script can't run this command", "NOPERM", Kind.OPERATOR),
    ("NOAUTH Authentication required.", "NOAUTH", Kind.OPERATOR),
    (
        "NOAUTH HELLO must be called with the client already authenticated, otherwise",
        "NOAUTH",
        Kind.OPERATOR,
    ),
    ("WRONGPASS invalid username-password pair or user is disabled.", "WRONGPASS", Kind.OPERATOR),
    ("ERR invalid password", "WRONGPASS", Kind.OPERATOR),
    ("ERR Client sent AUTH, but no password is set", "WRONGPASS", Kind.OPERATOR),
    ("DENIED Redis is running in protected mode because", "DENIED", Kind.OPERATOR),
    ("NOSCRIPT No matching script. Please use EVAL.", "NOSCRIPT", Kind.OPERATOR),
    ("ERR unknown command 'EVALSHA', with args beginning with:", "UNKNOWN", Kind.OPERATOR),
    ("ERR DB index is out of range", "DB", Kind.OPERATOR),
    ("WRONGTYPE Operation against a key", "ERR", Kind.OPERATOR),
    ("ERR of a kind that nobody has seen yet", "ERR", Kind.OPERATOR),
]


@pytest.mark.parametrize(("said", "code", "kind"), SAID)
def test_every_refusal_is_read_as_what_it_means(said: str, code: str, kind: Kind) -> None:
    refusal = refusal_of(BaseParser.parse_error(said))
    assert refusal is not None
    assert (refusal.code, refusal.kind) == (code, kind)
    assert refusal.answer
    assert "script:" not in refusal.answer


def test_every_row_of_the_table_is_said_by_some_server() -> None:
    assert {code for _, code, _ in SAID} == TABLE.keys()


@pytest.mark.parametrize(
    "e",
    [
        NoConnectionError("Error 111 connecting to 127.0.0.1:6379. Connection refused."),
        TimeoutError("Timeout reading from 127.0.0.1:6379"),
        OSError("No route to host"),
        RedisClusterException("Redis Cluster cannot be connected. Please provide at least one"),
    ],
)
def test_no_answer_is_no_refusal(e: Exception) -> None:
    assert refusal_of(e) is None


@pytest.mark.parametrize(
    ("inner", "code"),
    [("Authentication required.", "NOAUTH"), ("invalid username-password pair", "WRONGPASS")],
)
def test_a_cluster_whose_every_node_refuses_is_a_refusal(inner: str, code: str) -> None:
    refusal = refusal_of(RedisClusterException(f"Redis Cluster cannot be connected: {inner}"))
    assert refusal is not None
    assert (refusal.code, refusal.kind) == (code, Kind.OPERATOR)
