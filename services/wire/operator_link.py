"""An operator's way to the coordinator: status, pause, resume, stop, roll back. Over mTLS.

What comes back is a `RunStatus`, its workers as they travelled (`operator.proto`). A coordinator
that cannot be reached is an `UnreachableError` (not running, a wrong address, something in between:
who asks cannot know), or a `ConfigError` where a setting is wrong for certain; one that says no
raises what it said. Every command returns once its record is in the log: before that a coordinator
that ends forgets it, and the call fails. It is synchronous.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

import grpc

from common import canonical
from common.documents import Counters, Evaluation, RollbackOrder
from common.errors import ConfigError, CrosscloudError
from common.ids import Digest
from common.text import printable
from protos.v1 import operator_pb2, operator_pb2_grpc
from protos.v1.operator_pb2 import WorkerStatus
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
    workers: tuple[WorkerStatus, ...]
    aborts: int
    bytes_up: int
    bytes_down: int
    bytes_by_kind: Mapping[str, int]
    float32_bytes: int
    outage: str

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        plain = asdict(replace(self, workers=()))
        names = [f.name for f in WorkerStatus.DESCRIPTOR.fields]
        plain["workers"] = [{name: getattr(w, name) for name in names} for w in self.workers]
        return plain

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

    def digest_of(self, version: int) -> Digest:
        """Ask which digest a version has.

        Raises:
            NotFoundError: it is not kept.
        """
        with self._named_errors():
            return self._named(version)[1]

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
                If it raises, nothing is sent.

        Raises:
            NotRecordedError: as `stop`.
            NotFoundError: it is not kept, or not any more at the boundary.
        """
        with self._boundary() as status:
            request = operator_pb2.RollbackRequest(version=version)
            if self._tls is not None:
                genesis, digest = self._named(version)
                order = signed_order(
                    self._tls,
                    genesis=genesis,
                    version=version,
                    digest=digest,
                    num_records=status.num_records,
                )
                shown(order)
                request.order = canonical.encode(order)
            self._stub.Rollback(request, timeout=within_s)

    def _named(self, version: int) -> tuple[Digest, Digest]:
        """Return the digests of the run's genesis and of one of its versions."""
        asked = operator_pb2.GetVersionRequest(version=version)
        found = self._stub.GetVersion(asked, timeout=self._timeout_s)
        return Digest(found.genesis.hex()), Digest(found.digest.hex())

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
    """Read a GetStatusResponse's documents, and make its strings fit to be shown.

    Raises:
        MalformedDocumentError: one of its documents is not canonical.
    """
    shown = operator_pb2.GetStatusResponse()
    shown.CopyFrom(answer)
    for message in (shown, *shown.workers):
        for field, value in message.ListFields():
            if field.type == field.TYPE_STRING:
                setattr(message, field.name, printable(value))
    return RunStatus(
        run=shown.run,
        state=shown.state,
        version=shown.version,
        digest=shown.digest.hex(),
        num_records=shown.num_records,
        progress=shown.progress,
        seconds=shown.seconds,
        phase=shown.phase,
        waiting_for=shown.waiting_for,
        privacy=shown.privacy,
        evaluation=canonical.decode(shown.evaluation, Evaluation) if shown.evaluation else None,
        counters=canonical.decode(shown.counters, Counters) if shown.counters else Counters(),
        workers=tuple(shown.workers),
        aborts=shown.aborts,
        bytes_up=shown.bytes_up,
        bytes_down=shown.bytes_down,
        bytes_by_kind={printable(k): n for k, n in sorted(shown.bytes_by_kind.items())},
        float32_bytes=shown.float32_bytes,
        outage=shown.outage,
    )
