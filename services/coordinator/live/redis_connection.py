"""Connections to a Redis URL: one server or a cluster, plain or TLS. They never retry.

    redis://  rediss://  unix://                 one server, or whatever answers for several
    redis+cluster://  rediss+cluster://          any node of a cluster: it is asked for the others

User and password stand in the URL, and so do TLS files, as `?ssl_ca_certs=/path/ca.pem`;
`services/config/store_options.py` has the table of what may stand there.
"""

from typing import Any, Final
from urllib.parse import urlsplit

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.cluster import RedisCluster as AsyncRedisCluster
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, RedisError
from redis.retry import Retry

_CLUSTER: Final = "+cluster"

FAILURES: Final = (RedisError, RedisClusterException, OSError)
"""What a call that got no answer raises."""

Connection = Redis | RedisCluster
AsyncConnection = AsyncRedis | AsyncRedisCluster


def connection(url: str, timeout_s: float) -> Connection:
    """Return a blocking connection; one to a cluster dials at once.

    Raises:
        ValueError: not such a URL.
        RedisClusterException: no node of a cluster answers.
    """
    options: dict[str, Any] = {**_timeouts(timeout_s), "retry": Retry(NoBackoff(), 0)}
    if is_cluster(url):
        return RedisCluster.from_url(_plain(url), **options)
    return Redis.from_url(url, retry_on_error=[], **options)


def async_connection(url: str, timeout_s: float) -> AsyncConnection:
    """Return a connection for asyncio, which dials when it is first used.

    Raises:
        ValueError: not such a URL.
    """
    options: dict[str, Any] = {**_timeouts(timeout_s), "retry": AsyncRetry(NoBackoff(), 0)}
    if is_cluster(url):
        return AsyncRedisCluster.from_url(_plain(url), **options)
    return AsyncRedis.from_url(url, retry_on_error=[], **options)


def is_cluster(url: str) -> bool:
    """Return whether the URL is of a cluster."""
    return urlsplit(url).scheme.endswith(_CLUSTER)


def _plain(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme.removesuffix(_CLUSTER)}://{rest}"


def _timeouts(timeout_s: float) -> dict[str, Any]:
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
