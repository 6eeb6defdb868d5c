"""How we dial: options that keep a quiet connection alive and notice a dead one.

Balancers cut connections that are idle for four minutes, and a path that dies without a word shows
only when a ping gets no answer. So every channel pings a quiet path every 20 seconds, open calls or
not, and so does every server at its own pace. A ping without an answer ends the path after 20 more:
gRPC's own patience with one is a minute, whatever `keepalive_timeout` says (measured: with a ping a
minute, a call that stalled ended after 120 seconds).
"""

from typing import Final

import grpc

_PING_TIMEOUT: Final = ("grpc.http2.ping_timeout_ms", 20_000)

OPTIONS: Final = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    _PING_TIMEOUT,
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.max_receive_message_length", 16 * 2**20),
)


def dial(target: str, credentials: grpc.ChannelCredentials) -> grpc.Channel:
    """Return a channel for blocking calls to HOST:PORT."""
    return grpc.secure_channel(target, credentials, OPTIONS)


def server_options(keepalive_s: float) -> tuple[tuple[str, int], ...]:
    """Return a server's half: it pings idle connections, and lets the other side ping.

    A caller that never reads or answers is let go after a ping without an answer.
    """
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", round(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", 20_000),
        _PING_TIMEOUT,
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )
