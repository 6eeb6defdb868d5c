"""One table: which of our errors becomes which gRPC status, and back.

Servicers raise our errors and hold no `try`; the interceptors here end the call with the status and
the error's sentence. The dialling side turns the status back with `raise_for`. Only statuses that
gRPC itself never makes up come back as our errors: all others mean trouble on the way, where trying
again is right. An error that is not in the table is our own bug: it passes, is logged with its
traceback and reaches the caller as UNKNOWN.

"Busy" says when to come back, jittered, in the trailing metadata `grpc-retry-pushback-ms` (gRPC's
own name for it); the caller waits that long (`retry_after_s`), and counts it as no failure.
"""

import contextlib
import inspect
import logging
import random
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final, Protocol

import grpc
from typing_extensions import override

from common.errors import (
    BadUpdateError,
    BusyError,
    CrosscloudError,
    DamagedDataError,
    IncompatibleError,
    MalformedDocumentError,
    NotAMemberError,
    NotFoundError,
    NotPermittedError,
    ProtocolError,
    StaleLeaderError,
    StorageError,
    StorageFullError,
    UnexpectedMessageError,
)

log = logging.getLogger(__name__)

STATUS: Final[dict[type[CrosscloudError], grpc.StatusCode]] = {
    # The caller should change something before it tries again.
    MalformedDocumentError: grpc.StatusCode.INVALID_ARGUMENT,
    UnexpectedMessageError: grpc.StatusCode.ABORTED,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    NotAMemberError: grpc.StatusCode.UNAUTHENTICATED,
    NotPermittedError: grpc.StatusCode.PERMISSION_DENIED,
    IncompatibleError: grpc.StatusCode.FAILED_PRECONDITION,
    BadUpdateError: grpc.StatusCode.OUT_OF_RANGE,
    ProtocolError: grpc.StatusCode.FAILED_PRECONDITION,
    DamagedDataError: grpc.StatusCode.DATA_LOSS,
    # The caller should just try again later.
    BusyError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StorageFullError: grpc.StatusCode.RESOURCE_EXHAUSTED,
    StaleLeaderError: grpc.StatusCode.UNAVAILABLE,
    StorageError: grpc.StatusCode.INTERNAL,
}

_RETRY: Final = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.INTERNAL,
}
_ERRORS: Final = {  # reversed, so that of two classes with one status the more precise one wins
    code: kind for kind, code in reversed(STATUS.items()) if code not in _RETRY
}

RETRY_AFTER: Final = "grpc-retry-pushback-ms"
"""Key of the trailing metadata: milliseconds, a decimal number."""

_LONGEST_RETRY_AFTER_S: Final = 60.0  # whatever the other side says
_MAX_DETAILS: Final = 2000  # they travel in a header, which gRPC limits to 8 KiB


def status_of(error: CrosscloudError) -> grpc.StatusCode | None:
    """Return the status for `error`, or None where it is our own bug."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def error_of(error: grpc.RpcError) -> CrosscloudError | None:
    """Return the error that the other side raised; None where the call may just be tried again."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return None
    kind = _ERRORS.get(error.code())
    return kind(error.details() or "the other side gave no reason") if kind else None


def raise_for(error: grpc.RpcError) -> None:
    """Raise the error that the other side raised; return where the call may just be tried again."""
    if (ours := error_of(error)) is not None:
        raise ours from error


def retry_after_s(error: grpc.RpcError) -> float | None:
    """Return when the other side, which is busy, wants to be asked again; None: it does not say."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return None
    metadata: Any = error.trailing_metadata() or ()
    said = str(dict(metadata).get(RETRY_AFTER, ""))
    return min(int(said[:9]) / 1000, _LONGEST_RETRY_AFTER_S) if said.isdecimal() else None


class StatusInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """For `grpc.server`."""

    @override
    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the method's handler, with its errors turned into statuses."""
        handler = continuation(handler_call_details)
        return handler and _rewrap(handler, _sync_wrapper(handler, handler_call_details.method))


class AioStatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in stubs only
    """For `grpc.aio.server`."""

    @override
    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Return the method's handler, with its errors turned into statuses."""
        handler = await continuation(handler_call_details)
        return handler and _rewrap(handler, _aio_wrapper(handler, handler_call_details.method))


class _Context(Protocol):
    """The part of both servicer contexts that is used here; aio's `abort` is awaited."""

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        """Have it sent with the status."""

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        """Raise after noting the status."""


async def abort(error: CrosscloudError, context: Any) -> None:
    """Send an error's status to the caller of an aio call, beside its handler, which is ending."""
    with contextlib.suppress(grpc.aio.BaseError):  # it was ended so, or another way before
        await context.abort(*_refusal(error, "a stream", context))


def _sync_wrapper(handler: Any, method: str) -> Callable[..., Any]:
    behaviour = _behaviour(handler)

    def respond(request: Any, context: _Context) -> Any:
        try:
            return behaviour(request, context)
        except CrosscloudError as e:
            context.abort(*_refusal(e, method, context))

    def stream(request: Any, context: _Context) -> Iterator[Any]:
        try:
            yield from behaviour(request, context)
        except CrosscloudError as e:
            context.abort(*_refusal(e, method, context))

    return stream if handler.response_streaming else respond


def _aio_wrapper(handler: Any, method: str) -> Callable[..., Any]:
    behaviour = _behaviour(handler)

    async def respond(request: Any, context: _Context) -> Any:
        try:
            return await behaviour(request, context)
        except CrosscloudError as e:
            await context.abort(*_refusal(e, method, context))

    async def stream(request: Any, context: _Context) -> AsyncIterator[Any]:
        try:
            async with contextlib.aclosing(behaviour(request, context)) as responses:
                async for response in responses:
                    yield response
        except CrosscloudError as e:
            await context.abort(*_refusal(e, method, context))

    return stream if inspect.isasyncgenfunction(behaviour) else respond


def _refusal(error: CrosscloudError, method: str, context: _Context) -> tuple[grpc.StatusCode, str]:
    code = status_of(error)
    if code is None:
        raise error
    if isinstance(error, BusyError):
        jittered_ms = error.retry_after_s * random.uniform(750, 1250)  # noqa: S311 - jitter
        context.set_trailing_metadata(((RETRY_AFTER, str(round(jittered_ms))),))
    log.info("%s answered %s: %s", method, code.name, error)
    return code, str(error)[:_MAX_DETAILS]


_FACTORIES: Final = {
    ("unary", "unary"): grpc.unary_unary_rpc_method_handler,
    ("unary", "stream"): grpc.unary_stream_rpc_method_handler,
    ("stream", "unary"): grpc.stream_unary_rpc_method_handler,
    ("stream", "stream"): grpc.stream_stream_rpc_method_handler,
}


def _kind(handler: Any) -> tuple[str, str]:
    return (
        "stream" if handler.request_streaming else "unary",
        "stream" if handler.response_streaming else "unary",
    )


def _behaviour(handler: Any) -> Callable[..., Any]:
    request, response = _kind(handler)
    # A name made at each call would be kept 4,096 times over by the interpreter's method cache.
    found: Callable[..., Any] = getattr(handler, sys.intern(f"{request}_{response}"))
    return found


def _rewrap(handler: Any, behaviour: Callable[..., Any]) -> Any:
    return _FACTORIES[_kind(handler)](
        behaviour, handler.request_deserializer, handler.response_serializer
    )
