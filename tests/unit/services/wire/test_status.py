import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

from common import errors
from common.errors import (
    ConfigError,
    CrosscloudError,
    DivergedError,
    IncompatibleError,
    ProtocolError,
    StorageError,
    UnknownRoundError,
)
from services.wire.status import (
    STATUS,
    AioStatusInterceptor,
    StatusInterceptor,
    error_of,
    raise_for,
    status_of,
)

OURS = [e for e in vars(errors).values() if isinstance(e, type) and issubclass(e, CrosscloudError)]
NO_STATUS = {CrosscloudError, ConfigError, DivergedError, errors.BrokenUpdateError}
RETRIED = {errors.BusyError, StorageError, errors.StorageFullError, errors.StaleLeaderError}


class Aborted(Exception):  # noqa: N818 - what a servicer context raises
    pass


class Context:
    def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


class AioContext:
    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        raise Aborted(code, details)


class Details:
    method = "/crosscloud.v1.Session/Connect"


def failed(code: grpc.StatusCode, details: str) -> grpc.RpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details, None)


@pytest.mark.parametrize("kind", sorted(set(OURS) - NO_STATUS, key=str))
def test_every_error_of_the_other_sides_or_the_disks_has_a_status(
    kind: type[CrosscloudError],
) -> None:
    nearest = next(k for k in kind.__mro__ if k in STATUS)
    assert status_of(kind("x")) == STATUS[nearest]


@pytest.mark.parametrize("kind", sorted(NO_STATUS, key=str))
def test_our_own_bugs_have_none(kind: type[CrosscloudError]) -> None:
    assert status_of(kind("x")) is None


def test_an_error_of_a_derived_class_has_the_status_of_its_base() -> None:
    class LateError(UnknownRoundError):
        pass

    assert status_of(LateError("x")) == grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("kind", sorted(set(STATUS) - RETRIED - {ProtocolError}, key=str))
def test_an_error_comes_back_as_itself_with_its_sentence(kind: type[CrosscloudError]) -> None:
    with pytest.raises(kind, match="upgrade the worker") as caught:
        raise_for(failed(STATUS[kind], "upgrade the worker"))
    assert type(caught.value) is kind


def test_of_two_errors_with_one_status_the_more_precise_comes_back() -> None:
    assert STATUS[ProtocolError] == STATUS[IncompatibleError]
    assert type(error_of(failed(STATUS[ProtocolError], ""))) is IncompatibleError


@pytest.mark.parametrize("kind", sorted(RETRIED, key=str))
def test_what_may_be_tried_again_raises_nothing(kind: type[CrosscloudError]) -> None:
    raise_for(failed(STATUS[kind], "later"))
    raise_for(failed(grpc.StatusCode.DEADLINE_EXCEEDED, "late"))
    raise_for(grpc.RpcError())


def _intercepted(handler: Any) -> Any:
    return StatusInterceptor().intercept_service(lambda _: handler, Details())


async def _aio_intercepted(handler: Any) -> Any:
    async def found(_: object) -> Any:
        return handler

    return await AioStatusInterceptor().intercept_service(found, Details())


def test_a_sync_answer_passes_and_an_error_becomes_a_status() -> None:
    def behaviour(request: int, context: Context) -> int:
        if request < 0:
            raise UnknownRoundError("round 3 is over")
        return request + 1

    handler = _intercepted(grpc.unary_unary_rpc_method_handler(behaviour))
    assert handler.unary_unary(1, Context()) == 2
    with pytest.raises(Aborted) as caught:
        handler.unary_unary(-1, Context())
    assert caught.value.args == (grpc.StatusCode.NOT_FOUND, "round 3 is over")


def test_a_sync_stream_ends_with_the_status_after_what_it_sent() -> None:
    def behaviour(requests: Iterator[int], context: Context) -> Iterator[int]:
        yield from requests
        raise UnknownRoundError("over")

    handler = _intercepted(grpc.stream_stream_rpc_method_handler(behaviour))
    answers = handler.stream_stream(iter([1, 2]), Context())
    assert [next(answers), next(answers)] == [1, 2]
    with pytest.raises(Aborted):
        next(answers)


def test_a_bug_is_not_hidden_behind_a_status() -> None:
    def behaviour(request: int, context: Context) -> int:
        raise DivergedError("base is sound")

    handler = _intercepted(grpc.unary_unary_rpc_method_handler(behaviour))
    with pytest.raises(DivergedError):
        handler.unary_unary(1, Context())


def test_a_method_that_is_not_there_stays_so() -> None:
    assert _intercepted(None) is None
    assert asyncio.run(_aio_intercepted(None)) is None


async def test_an_aio_answer_passes_and_an_error_becomes_a_status() -> None:
    async def behaviour(request: int, context: AioContext) -> int:
        if request < 0:
            raise UnknownRoundError("round 3 is over")
        return request + 1

    handler = await _aio_intercepted(grpc.unary_unary_rpc_method_handler(behaviour))
    assert await handler.unary_unary(1, AioContext()) == 2
    with pytest.raises(Aborted) as caught:
        await handler.unary_unary(-1, AioContext())
    assert caught.value.args == (grpc.StatusCode.NOT_FOUND, "round 3 is over")


async def test_an_aio_stream_ends_with_the_status_and_its_generator_is_closed() -> None:
    closed = []

    async def behaviour(requests: object, context: AioContext) -> AsyncIterator[int]:
        try:
            yield 1
            raise UnknownRoundError("over")
        finally:
            closed.append(True)

    handler = await _aio_intercepted(grpc.stream_stream_rpc_method_handler(behaviour))
    answers = handler.stream_stream(None, AioContext())
    assert await anext(answers) == 1
    with pytest.raises(Aborted):
        await anext(answers)
    assert closed == [True]


async def test_an_aio_caller_that_goes_away_closes_the_generator_at_once() -> None:
    closed = []

    async def behaviour(request: object, context: AioContext) -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    handler = await _aio_intercepted(grpc.unary_stream_rpc_method_handler(behaviour))
    answers = handler.unary_stream(None, AioContext())
    assert await anext(answers) == 1
    await answers.aclose()
    assert closed == [True]
