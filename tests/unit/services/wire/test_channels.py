"""Pings, as grpc is told of them; what they do: tests/e2e/test_idle_pings.py."""

from services.wire.channels import (
    FASTEST_PING_S,
    PING_S,
    PING_TIMEOUT_S,
    channel_options,
    server_options,
)

A_BALANCER_FORGETS_S = 240.0


def test_both_sides_ping_a_quiet_path_long_before_a_balancer_forgets_it() -> None:
    for options in (dict(channel_options()), dict(server_options(keepalive_s=20.0))):
        assert options["grpc.keepalive_time_ms"] == 20_000
        assert options["grpc.keepalive_timeout_ms"] == options["grpc.http2.ping_timeout_ms"]
        assert options["grpc.keepalive_permit_without_calls"] == 1
        assert options["grpc.http2.max_pings_without_data"] == 0
    assert 2 * (PING_S + PING_TIMEOUT_S) < A_BALANCER_FORGETS_S


def test_a_server_puts_up_with_twice_the_pings_that_we_send() -> None:
    served = dict(server_options(keepalive_s=20.0))
    assert served["grpc.http2.min_ping_interval_without_data_ms"] == FASTEST_PING_S * 1000
    assert PING_S >= 2 * FASTEST_PING_S
