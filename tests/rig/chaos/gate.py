"""What stands between workers and their coordinator, reads all, and can keep a message back.

    worker --mTLS, as the coordinator--> gate --mTLS, as that worker--> coordinator

It has everybody's keys, as whoever laid the federation out has. So a test can kill a worker between
two given messages: the one that is kept back has not come, the one before it has. What comes behind
it waits too, but for what a worker says: its heartbeats go on.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import Any, Final, Self

import grpc
from typing_extensions import override

from commands.demo.layout import COORDINATOR, HOST, Layout
from common import canonical
from common.documents import Answer, Record
from protos.v1 import session_pb2
from services.trust.identity import Identity
from services.wire import framing
from services.wire.channels import OPTIONS, server_options
from tests.rig.workers.light_worker import credentials

UNARY, STREAM = False, True
_CALLS: Final = {
    "/crosscloud.v1.Bulk/ListMissing": (UNARY, UNARY),
    "/crosscloud.v1.Bulk/Download": (UNARY, STREAM),
    "/crosscloud.v1.Bulk/PushShards": (STREAM, UNARY),
    "/crosscloud.v1.Session/Connect": (STREAM, STREAM),
}
"""Call -> whether the request, and the answer, is a stream."""

_MOST_CALLS: Final = 64
_SILENT_S: Final = 60.0

Put = Callable[[bytes | None], None]


class MissedError(AssertionError):
    """What was to be kept back did not come: whatever happens next, it is not what was meant."""


class Gate:
    """A context manager.

    Args:
        names: of the workers.
    """

    def __init__(self, layout: Layout, names: Sequence[str]) -> None:
        self._layout = layout
        self._names = names
        self._changed = threading.Condition()
        self._wanted: dict[str, str] = {}
        self._kept: dict[str, list[tuple[Put, bytes]]] = {}
        self._streams: dict[str, grpc.ServicerContext] = {}
        self.passed: Counter[tuple[str, str]] = Counter()
        """(worker, kind of message) -> how many were handed on."""
        self.answers: dict[tuple[str, str], Answer] = {}
        """(round, worker) -> what it answered to the plan."""
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Self:
        certs = self._layout.folder / "certs"
        key, pem = ((certs / f"{COORDINATOR}.{end}").read_bytes() for end in ("key", "pem"))
        self._pool = ThreadPoolExecutor(_MOST_CALLS)
        self._server = grpc.server(self._pool, options=server_options(20.0))
        ca = (certs / "ca.pem").read_bytes()
        ours = grpc.ssl_server_credentials([(key, pem)], ca, require_client_auth=True)
        self._server.add_generic_rpc_handlers((_Handlers(self._method),))
        self.addresses = {
            port: f"{HOST}:{self._server.add_secure_port(f'{HOST}:0', ours)}"
            for port in ("control", "bulk")
        }
        self._channels = {
            (name, port): grpc.secure_channel(port, credentials(certs, name), OPTIONS)
            for name in self._names
            for port in (self._layout.control, self._layout.bulk)
        }
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
        for channel in self._channels.values():
            channel.close()
        self._pool.shutdown()

    def keep_back(self, wanted: Mapping[str, str]) -> None:
        """Keep back the next message of a kind: worker -> "plan", "answer", "shard 0", ..."""
        with self._changed:
            assert not self._wanted, f"still kept back: {self._wanted}"
            self._wanted = dict(wanted)
            self._kept = {}

    def wait_until_kept(self, within_s: float = _SILENT_S) -> None:
        """Wait until all of it has come.

        Raises:
            MissedError: it has not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._kept) == len(self._wanted), within_s):
                missing = {w: kind for w, kind in self._wanted.items() if w not in self._kept}
                raise MissedError(f"after {within_s:g} s these have not come: {missing}")

    def let_go(self, *, lost: Sequence[str]) -> None:
        """Hand on what was kept back, but for what came from or was meant for those lost."""
        with self._changed:
            for name, kept in self._kept.items():
                for put, content in kept if name not in lost else ():
                    self.passed[name, self._wanted[name]] += 1
                    put(content)
            self._wanted, self._kept = {}, {}
            self._changed.notify_all()

    def cut(self, name: str) -> None:
        """End a worker's control stream; it opens another one."""
        self._streams[name].cancel()

    def wait_for(self, name: str, kind: str, count: int) -> None:
        """Wait until so many messages of a kind were handed on.

        Raises:
            MissedError: they did not come.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.passed[name, kind] >= count, _SILENT_S):
                raise MissedError(f"{name}: {self.passed[name, kind]} of {count} times {kind!r}")

    # One message

    def _hand_on(
        self, name: str, kind: str, content: bytes, put: Put, *, in_order: bool = False
    ) -> None:
        with self._changed:
            if self._wanted.get(name) == kind or (in_order and name in self._kept):
                self._kept.setdefault(name, []).append((put, content))
            else:
                self.passed[name, kind] += 1
                put(content)
            self._changed.notify_all()

    def _noted(self, name: str, content: bytes) -> str:
        message = session_pb2.ConnectRequest.FromString(content)
        kind = str(message.WhichOneof("message"))
        if kind == "answer":
            answer = canonical.decode(message.answer.answer, Answer)
            with self._changed:
                self.answers[message.answer.round_id.hex(), name] = answer
        return kind

    # One call

    def _method(self, path: str) -> grpc.RpcMethodHandler | None:
        if path not in _CALLS:
            return None
        from_stream, to_stream = _CALLS[path]
        make = {
            (UNARY, UNARY): grpc.unary_unary_rpc_method_handler,
            (UNARY, STREAM): grpc.unary_stream_rpc_method_handler,
            (STREAM, UNARY): grpc.stream_unary_rpc_method_handler,
            (STREAM, STREAM): grpc.stream_stream_rpc_method_handler,
        }[from_stream, to_stream]

        def called(request: Any, context: Any) -> Any:
            (uri,) = context.auth_context()["x509_subject_alternative_name"]
            name = Identity.from_uri(uri.decode()).name
            if path.endswith("Connect"):
                return self._connect(name, request, context)
            dialled = self._dialled(name, path)
            if from_stream:
                call = dialled.future(self._shards(name, request, context))
            elif to_stream:
                call = dialled(request)
            else:
                call = dialled.future(request)
            context.add_callback(call.cancel)
            return _streamed(call, context) if to_stream else _answered(call, context)

        return make(called)

    def _dialled(self, name: str, path: str) -> Any:
        port = self._layout.bulk if "Bulk" in path else self._layout.control
        from_stream, to_stream = _CALLS[path]
        method = f"{'stream' if from_stream else 'unary'}_{'stream' if to_stream else 'unary'}"
        return getattr(self._channels[name, port], method)(path)

    def _connect(
        self, name: str, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        up: SimpleQueue[bytes | None] = SimpleQueue()
        down: SimpleQueue[bytes | None] = SimpleQueue()
        call = self._dialled(name, "/crosscloud.v1.Session/Connect")(iter(up.get, None))
        context.add_callback(call.cancel)
        self._streams[name] = context

        def read_requests() -> None:
            with contextlib.suppress(grpc.RpcError):  # the worker is gone
                for content in requests:
                    self._hand_on(name, self._noted(name, content), content, up.put)
            up.put(None)

        def read_answers() -> None:
            with contextlib.suppress(grpc.RpcError):  # said below
                for content in call:
                    self._hand_on(name, _told(content), content, down.put, in_order=True)
            down.put(None)

        for read in (read_requests, read_answers):
            threading.Thread(target=read, daemon=True).start()
        yield from iter(down.get, None)
        if call.code() is not grpc.StatusCode.OK:
            context.set_trailing_metadata(call.trailing_metadata() or ())
            context.abort(call.code(), call.details())

    def _shards(
        self, name: str, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> Iterator[bytes]:
        """Hand shards on in order: nothing passes one that is kept back."""
        for content in requests:
            through: SimpleQueue[bytes | None] = SimpleQueue()
            context.add_callback(partial(through.put, None))
            _, index, _ = framing.split_shard(content)
            self._hand_on(name, f"shard {index}", content, through.put)
            if (let_through := through.get()) is None:
                return
            yield let_through


def _told(content: bytes) -> str:
    """Return what kind of message a worker is sent; commits are a kind of their own."""
    message = session_pb2.ConnectResponse.FromString(content)
    kind = str(message.WhichOneof("message"))
    if kind == "outcome" and canonical.decode(message.outcome.record, Record).commit is not None:
        return "commit"
    return kind


def _streamed(call: Any, context: grpc.ServicerContext) -> Iterator[bytes]:
    with _same_errors(context):
        yield from call


def _answered(call: Any, context: grpc.ServicerContext) -> bytes:
    with _same_errors(context), contextlib.suppress(grpc.FutureCancelledError):  # nobody listens
        answer: bytes = call.result()
        return answer
    return b""


@contextlib.contextmanager
def _same_errors(context: grpc.ServicerContext) -> Iterator[None]:
    """Say what the coordinator said."""
    try:
        yield
    except grpc.RpcError as e:
        said: Any = e
        context.set_trailing_metadata(said.trailing_metadata() or ())
        context.abort(said.code(), said.details())


class _Handlers(grpc.GenericRpcHandler):
    """Every call, by its path."""

    def __init__(self, method: Callable[[str], grpc.RpcMethodHandler | None]) -> None:
        self._method = method

    @override
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._method(details.method)
