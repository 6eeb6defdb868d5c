"""How we dial: options that keep a quiet connection alive and notice a dead one.

Balancers cut connections that are idle for four minutes, and a path that dies without a word shows
only when a ping gets no answer. So every channel pings a quiet path every 20 seconds, open calls or
not, and so does every server at its own pace. A ping without an answer ends the path after 20 more:
gRPC's own patience with one is a minute, whatever `keepalive_timeout` says (measured: with a ping a
minute, a call that stalled ended after 120 seconds).

A server of ours puts up with a ping every 5 seconds on a connection that carries nothing else, and
ends one that pings more often (GOAWAY, "too_many_pings", at the third): whoever dials it has to
ping less often than that, and `keepalive_s` of the coordinator has no say in it.

A channel that was refused dials again after growing pauses, by gRPC's own measure of up to two
minutes: after four minutes without a coordinator a transfer went on 35 s later than it could have,
and 12 s with the limit that is set here.

Proxies: `services/wire/proxies.py`.
"""

from typing import Final

import grpc

from services.wire.proxies import is_loopback, is_unread, split

PING_S: Final = 20.0
"""Seconds that a channel of ours is quiet until it pings."""

PING_TIMEOUT_S: Final = 20.0
"""Seconds until a ping without an answer ends the path."""

FASTEST_PING_S: Final = 5.0
"""Seconds between pings of a quiet connection that a server of ours puts up with."""

HANDSHAKE_S: Final = 15.0
"""Seconds until a server of ours drops a connection that has not said who it is."""

LONGEST_REDIAL_S: Final = 10.0
"""Seconds between two tries of a channel to connect, at most."""

Options = tuple[tuple[str, int], ...]


def _pings(every_s: float, timeout_s: float) -> Options:
    return (
        ("grpc.keepalive_time_ms", _ms(every_s)),
        ("grpc.keepalive_timeout_ms", _ms(timeout_s)),
        ("grpc.http2.ping_timeout_ms", _ms(timeout_s)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def channel_options(
    ping_s: float = PING_S,
    timeout_s: float = PING_TIMEOUT_S,
    longest_redial_s: float = LONGEST_REDIAL_S,
) -> Options:
    """Return the dialling side's half."""
    return (
        *_pings(ping_s, timeout_s),
        ("grpc.max_reconnect_backoff_ms", _ms(longest_redial_s)),
        ("grpc.max_receive_message_length", 16 * 2**20),
    )


OPTIONS: Final = channel_options()


def to(target: str, options: Options = OPTIONS) -> Options:
    """Return the options of a channel to HOST:PORT.

    Loopback is dialled without any proxy. So is everything where the setting is of no form that
    gRPC reads: it would dial directly as well, and repeat in its own log what the setting says.
    """
    if is_loopback(split(target)[0]) or is_unread():
        return (*options, ("grpc.enable_http_proxy", 0))
    return options


def dial(
    target: str, credentials: grpc.ChannelCredentials, options: Options = OPTIONS
) -> grpc.Channel:
    """Return a channel for blocking calls to HOST:PORT."""
    return grpc.secure_channel(target, credentials, to(target, options))


def server_options(
    keepalive_s: float,
    timeout_s: float = PING_TIMEOUT_S,
    fastest_ping_s: float = FASTEST_PING_S,
) -> Options:
    """Return a server's half: it pings idle connections, and lets the other side ping.

    A caller that never reads or answers is let go after a ping without an answer, and one that says
    nothing before that, without a certificate say, after `HANDSHAKE_S` (gRPC's own: 120 s).
    """
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_S)),
        *_pings(keepalive_s, timeout_s),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(fastest_ping_s)),
    )


def bounded(max_connections: int) -> Options:
    """Return what has a port of a server close any further connection as soon as it is opened.

    Args:
        max_connections: open at once, those included that have not said yet who they are.
    """
    return (("grpc.max_allowed_incoming_connections", max_connections),)
