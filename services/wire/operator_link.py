"""An operator's way to the coordinator: status, pause, resume, stop, roll back. Over mTLS.

What comes back is a `RunStatus`; stubs stay in here. A coordinator that cannot be reached is an
`UnreachableError` (not running, a wrong address, something in between: who asks cannot know), or a
`ConfigError` where a setting is wrong for certain; one that says no raises what it said. Every
command returns once its record is in the log: before that a coordinator that ends forgets it, and
the call fails. It is synchronous.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import grpc

from common import canonical
from common.documents import Counters, Evaluation, RollbackOrder
from common.errors import ConfigError, CrosscloudError
from common.ids import Digest
from common.text import printable
from protos.v1 import operator_pb2, operator_pb2_grpc
from services.config.settings import TlsSettings
from services.trust.signing import signed_order
from services.wire.channels import channel_options, dial
from services.wire.credentials import explain_rpc_error
from services.wire.proxies import proxy_for
from services.wire.status import raise_for

_OPTIONS: Final = channel_options(ping_s=10.0, timeout_s=10.0, longest_redial_s=1.0)
"""A call that waits for a round boundary finds out within 20 s that nobody is there any more; and
whoever asks again and again is a person who waits."""


class UnreachableError(CrosscloudError):
    """Nobody answered, or not the coordinator: nothing was asked, and asking again is right."""


class NotRecordedError(CrosscloudError):
    """Nobody answered in time: whether the command is in the log, or will be, is not known."""


@dataclass(frozen=True, slots=True)
class WorkerReported:
    """One worker, as operator.proto's WorkerReported says it."""

    name: str
    live: bool
    silent_s: float
    version: int
    staleness: float
    steps_per_s: float
    tokens: int
    steps: int
    contributions: int
    bytes_sent: int
    bytes_received: int
    idle_share: float
    state: str
    pending_steps: int


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The run, as operator.proto's GetStatusResponse says it; `digest` is hexadecimal.

    Args:
        evaluation: newest; None before the first.
        float32_bytes: what float32 FedAvg would have moved up for the same versions.
        outage: of the store: which server, since when, what it holds up; "" while it answers.
    """

    run: str
    state: str
    version: int
    digest: str
    num_records: int
    progress: float
    seconds: float
    phase: str
    waiting_for: str
    privacy: str
    evaluation: Evaluation | None
    counters: Counters
    workers: tuple[WorkerReported, ...]
    aborts: int
    bytes_up: int
    bytes_down: int
    bytes_by_kind: Mapping[str, int]
    float32_bytes: int
    outage: str

    @property
    def bytes_moved(self) -> int:
        """What the workers sent and received."""
        return self.bytes_up + self.bytes_down

    @property
    def fedavg_bytes(self) -> int:
        """What float32 FedAvg would have moved, up and down, for the same contributions."""
        return 2 * self.float32_bytes


class OperatorLink:
    """A channel to one coordinator, for as long as the `with` block lasts.

    Args:
        address: "host:port" of the control port.
        credentials: an operator's certificate, its key and the federation's CA.
        timeout_s: of each call; raising it makes an unreachable coordinator take longer to name.
        tls: whose key signs orders, which the masked tier asks for; None = none is signed.
    """

    def __init__(
        self,
        address: str,
        credentials: grpc.ChannelCredentials,
        *,
        timeout_s: float = 10.0,
        tls: TlsSettings | None = None,
    ) -> None:
        self._address = address
        self._tls = tls
        self._timeout_s = timeout_s
        self._channel = dial(address, credentials, _OPTIONS)
        self._stub = operator_pb2_grpc.OperatorStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def status(self) -> RunStatus:
        """Ask how the run is."""
        with self._named_errors():
            request = operator_pb2.GetStatusRequest()
            return run_status(self._stub.GetStatus(request, timeout=self._timeout_s))

    def pause(self) -> None:
        """Open no round after this one."""
        with self._named_errors():
            self._stub.Pause(operator_pb2.PauseRequest(), timeout=self._timeout_s)

    def resume(self) -> None:
        """Undo a pause."""
        with self._named_errors():
            self._stub.Resume(operator_pb2.ResumeRequest(), timeout=self._timeout_s)

    def stop(self, within_s: float | None = None) -> None:
        """End the run at the next round boundary; return once that is in the log.

        Args:
            within_s: None = as long as it takes.

        Raises:
            NotRecordedError: no answer came within that time, or the coordinator ended.
        """
        with self._boundary():
            self._stub.Stop(operator_pb2.StopRequest(), timeout=within_s)

    def rollback(
        self,
        version: int,
        within_s: float | None = None,
        shown: Callable[[RollbackOrder], None] = lambda _: None,
    ) -> None:
        """Make an earlier version's state the head at the next round boundary. As `stop`.

        The order is signed for the log as it is now, and good for one roll-back.

        Args:
            shown: is given the order before it is sent: what it names the coordinator has told.

        Raises:
            NotRecordedError: as `stop`.
            NotFoundError: it is not kept, or not any more at the boundary.
        """
        with self._boundary() as status:
            request = operator_pb2.RollbackRequest(version=version)
            if self._tls is not None:
                asked = operator_pb2.GetVersionRequest(version=version)
                found = self._stub.GetVersion(asked, timeout=self._timeout_s)
                order = signed_order(
                    self._tls,
                    genesis=Digest(found.genesis.hex()),
                    version=version,
                    digest=Digest(found.digest.hex()),
                    num_records=status.num_records,
                )
                shown(order)
                request.order = canonical.encode(order)
            self._stub.Rollback(request, timeout=within_s)

    @contextmanager
    def _boundary(self) -> Iterator[RunStatus]:
        """Something that waits for a round boundary: first see that somebody is there."""
        status = self.status()
        try:
            yield status
        except grpc.RpcError as e:
            raise_for(e)
            raise NotRecordedError(
                f"the coordinator at {self._address} was asked and did not say that it is done "
                f"({explain_rpc_error(e, self._address)}): look at `crosscloud status` and, where "
                "it has not happened, ask again"
            ) from e

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as e:
            raise_for(e)
            kind = ConfigError if _is_setting(e, self._address) else UnreachableError
            raise kind(
                f"the coordinator at {self._address}: {explain_rpc_error(e, self._address)}"
            ) from e


def _is_setting(e: Any, address: str) -> bool:
    """Return whether a setting is wrong for certain: the other port, or a proxy that is no URL."""
    proxy = proxy_for(address)
    other_port = hasattr(e, "code") and e.code() is grpc.StatusCode.UNIMPLEMENTED
    return other_port or (proxy is not None and bool(proxy.fault))


def run_status(answer: operator_pb2.GetStatusResponse) -> RunStatus:
    """Convert a GetStatusResponse; its strings become fit to be shown.

    Raises:
        MalformedDocumentError: one of its documents is not canonical.
    """
    return RunStatus(
        run=printable(answer.run),
        state=printable(answer.state),
        version=answer.version,
        digest=answer.digest.hex(),
        num_records=answer.num_records,
        progress=answer.progress,
        seconds=answer.seconds,
        phase=printable(answer.phase),
        waiting_for=printable(answer.waiting_for),
        privacy=printable(answer.privacy),
        evaluation=canonical.decode(answer.evaluation, Evaluation) if answer.evaluation else None,
        counters=canonical.decode(answer.counters, Counters) if answer.counters else Counters(),
        workers=tuple(_worker_status(w) for w in answer.workers),
        aborts=answer.aborts,
        bytes_up=answer.bytes_up,
        bytes_down=answer.bytes_down,
        bytes_by_kind={printable(k): n for k, n in sorted(answer.bytes_by_kind.items())},
        float32_bytes=answer.float32_bytes,
        outage=printable(answer.outage),
    )


def _worker_status(w: operator_pb2.WorkerStatus) -> WorkerReported:
    return WorkerReported(
        name=printable(w.name),
        live=w.live,
        silent_s=w.silent_s,
        version=w.version,
        staleness=w.staleness,
        steps_per_s=w.steps_per_s,
        tokens=w.tokens,
        steps=w.steps,
        contributions=w.contributions,
        bytes_sent=w.bytes_sent,
        bytes_received=w.bytes_received,
        idle_share=w.idle_share,
        state=printable(w.state),
        pending_steps=w.pending_steps,
    )
