"""Connections with nothing to say, behind a balancer that forgets them. Real times over ten.

Not in `make test`: all they do is wait, and a busy machine answers a ping late.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
import pytest

from services.wire.channels import (
    FASTEST_PING_S,
    PING_S,
    PING_TIMEOUT_S,
    Options,
    channel_options,
    server_options,
)
from tests.rig.links.idle_balancer import IdleBalancer

SCALE = 10
IDLE_S = 60 / SCALE  # well under a balancer's 240 s
PING = PING_S / SCALE
TIMEOUT = PING_TIMEOUT_S / SCALE
FASTEST = FASTEST_PING_S / SCALE
SLOW = 3 * IDLE_S
NEVER = 3600.0
QUIET_S = 12 * PING  # far more pings than a server forgives
PATIENCE_S = 120.0
HOLD = "/test/Hold"


class Held:
    """A call that is answered when the test says so."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    def hold(self, request: bytes, context: object) -> Iterator[bytes]:
        self.go_on.wait(PATIENCE_S)
        yield b"done"

    async def hold_aio(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        await asyncio.to_thread(self.go_on.wait, PATIENCE_S)
        yield b"done"


def handlers(method: Any) -> Any:
    return grpc.method_handlers_generic_handler(
        "test", {"Hold": grpc.unary_stream_rpc_method_handler(method)}
    )


@contextmanager
def like_bulk(held: Held, options: Options) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    server.add_generic_rpc_handlers((handlers(held.hold),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    held.go_on.set()
    server.stop(None).wait()


@contextmanager
def like_control(held: Held, options: Options) -> Iterator[str]:
    ports: list[int] = []
    served, over = threading.Event(), threading.Event()

    async def serve() -> None:
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers((handlers(held.hold_aio),))
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
        served.set()
        await asyncio.to_thread(over.wait)
        await server.stop(None)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    served.wait(PATIENCE_S)
    yield f"127.0.0.1:{ports[0]}"
    held.go_on.set()
    over.set()
    thread.join()


Serve = Callable[[Held, Options], AbstractContextManager[str]]
BOTH: tuple[Serve, ...] = (like_control, like_bulk)


def all_at_once(play: Callable[..., None], *cases: tuple[Any, ...]) -> None:
    """Play every case in a thread of its own: all they do is wait."""
    with ThreadPoolExecutor(len(cases)) as pool:
        for played in [pool.submit(play, *case) for case in cases]:
            played.result()


def test_the_balancer_forgets_what_is_idle_and_nothing_else() -> None:
    all_at_once(balancer_forgets, (False,), (True,))


def balancer_forgets(resets: bool) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        IdleBalancer(f"127.0.0.1:{server.getsockname()[1]}", IDLE_S, resets=resets) as balancer,
        socket.create_connection(("127.0.0.1", int(balancer.address.rpartition(":")[2]))) as near,
        server.accept()[0] as far,
    ):
        for end in (near, far):
            end.settimeout(IDLE_S / 5)
        for _ in range(10):  # for longer than it may be idle
            near.sendall(b"ping")
            assert far.recv(4) == b"ping"
            far.sendall(b"pong")
            assert near.recv(4) == b"pong"
            time.sleep(IDLE_S / 5)
        assert balancer.num_forgotten == 0
        while not balancer.num_forgotten:
            time.sleep(0.01)
        near.sendall(b"ping")
        with pytest.raises(ConnectionResetError if resets else TimeoutError):
            near.recv(4)
        with pytest.raises(TimeoutError):  # nobody told it
            far.recv(4)


def test_pings_of_either_side_keep_what_has_nothing_to_say_and_annoy_nobody() -> None:
    pings = [(PING, NEVER), (NEVER, PING), (PING, PING)]
    calls = [(call_lives, serve, *each) for serve in BOTH for each in pings]
    channels = [(channel_lives, serve, PING, NEVER) for serve in BOTH]
    all_at_once(lambda play, *case: play(*case), *calls, *channels)


def call_lives(serve: Serve, ours: float, theirs: float) -> None:
    held = Held()
    with (
        serve(held, server_options(theirs, TIMEOUT, FASTEST)) as target,
        IdleBalancer(target, IDLE_S) as balancer,
        grpc.insecure_channel(balancer.address, channel_options(ours, TIMEOUT)) as channel,
    ):
        call = channel.unary_stream(HOLD, bytes, bytes)(b"", timeout=PATIENCE_S)
        threading.Timer(QUIET_S, held.go_on.set).start()
        assert list(call) == [b"done"]
        assert (balancer.num_connections, balancer.num_forgotten) == (1, 0)


def channel_lives(serve: Serve, ours: float, theirs: float) -> None:
    """Between two calls."""
    held = Held()
    held.go_on.set()
    with (
        serve(held, server_options(theirs, TIMEOUT, FASTEST)) as target,
        IdleBalancer(target, IDLE_S) as balancer,
        grpc.insecure_channel(balancer.address, channel_options(ours, TIMEOUT)) as channel,
    ):
        hold = channel.unary_stream(HOLD, bytes, bytes)
        assert list(hold(b"", timeout=PATIENCE_S)) == [b"done"]
        time.sleep(QUIET_S)
        assert list(hold(b"", timeout=PATIENCE_S)) == [b"done"]
        assert (balancer.num_connections, balancer.num_forgotten) == (1, 0)


def test_a_call_that_was_forgotten_ends_at_the_next_ping_and_another_gets_through() -> None:
    all_at_once(call_is_forgotten, *((serve, resets) for serve in BOTH for resets in (False, True)))


def call_is_forgotten(serve: Serve, resets: bool) -> None:
    held = Held()
    with (
        serve(held, server_options(NEVER, TIMEOUT, FASTEST)) as target,
        IdleBalancer(target, IDLE_S, resets=resets) as balancer,
        grpc.insecure_channel(balancer.address, channel_options(SLOW, TIMEOUT)) as channel,
    ):
        hold = channel.unary_stream(HOLD, bytes, bytes)
        with pytest.raises(grpc.RpcError) as caught:
            list(hold(b"", timeout=PATIENCE_S))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert balancer.num_forgotten == 1
        held.go_on.set()
        answered, failed = answer_of(hold)
        if failed is not None:  # it went out on the path that was just being given up
            assert failed is grpc.StatusCode.UNAVAILABLE
            answered, failed = answer_of(hold)
        assert (answered, failed) == ([b"done"], None)
        assert balancer.num_connections == 2


def answer_of(
    hold: Callable[..., Iterable[bytes]],
) -> tuple[list[bytes], grpc.StatusCode | None]:
    """Return what a call brings, and the code with which it fails."""
    try:
        return list(hold(b"", timeout=PATIENCE_S)), None
    except grpc.RpcError as e:
        return [], e.code()


def test_a_server_that_found_our_pings_too_many_would_be_noticed_here() -> None:
    all_at_once(annoyed, *((serve,) for serve in BOTH))


def annoyed(serve: Serve) -> None:
    held = Held()
    with (
        serve(held, server_options(NEVER, TIMEOUT, fastest_ping_s=NEVER)) as target,
        IdleBalancer(target, NEVER) as balancer,
        grpc.insecure_channel(balancer.address, channel_options(PING, TIMEOUT)) as channel,
    ):
        call = channel.unary_stream(HOLD, bytes, bytes)(b"", timeout=PATIENCE_S)
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
        assert caught.value.details() == "Too many pings"
        assert balancer.num_connections == 1
