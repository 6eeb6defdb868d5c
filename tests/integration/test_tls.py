"""Who is let in: real gRPC over loopback, good and bad certificates on both sides."""

import socket
import ssl
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from common.errors import NotAMemberError, NotPermittedError
from protos.v1 import operator_pb2, operator_pb2_grpc
from services.config.settings import TlsSettings
from services.trust.authority import Authority
from services.trust.identity import MemberList, Role, identity_of
from services.wire.credentials import (
    channel_credentials,
    explain_rpc_error,
    renewed_credentials,
    server_credentials,
)
from services.wire.renewed_channel import RenewedChannel
from services.wire.status import AioStatusInterceptor, StatusInterceptor, raise_for
from tests.rig.certificates import RUN, authority, tls_files

MEMBERS = """\
members:
  - {name: ann, role: operator, organisation: acme}
  - {name: aws, role: worker, organisation: acme}
"""


class Greeter(operator_pb2_grpc.OperatorServicer):
    """Answers operators on the list with their name."""

    def __init__(self, members: MemberList) -> None:
        self._members = members

    def GetStatus(  # noqa: N802 - gRPC's name
        self, request: operator_pb2.GetStatusRequest, context: Any
    ) -> operator_pb2.GetStatusResponse:
        found = self._members.admit(identity_of(context), Role.OPERATOR)
        return operator_pb2.GetStatusResponse(run=found.name)


class AioGreeter(Greeter):
    async def GetStatus(  # type: ignore[override]  # noqa: N802 - gRPC's name
        self, request: operator_pb2.GetStatusRequest, context: Any
    ) -> operator_pb2.GetStatusResponse:
        return super().GetStatus(request, context)


def credentials_of(tls: TlsSettings) -> grpc.ServerCredentials:
    """What a server presents that did not check its own certificate."""
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    return grpc.ssl_server_credentials([pair], tls.ca.read_bytes(), require_client_auth=True)


def dialled_with(tls: TlsSettings) -> grpc.ChannelCredentials:
    """What a worker dials with that did not check its own certificate."""
    return grpc.ssl_channel_credentials(
        tls.ca.read_bytes(), tls.key.read_bytes(), tls.certificate.read_bytes()
    )


@pytest.fixture(scope="module")
def ca() -> Authority:
    return authority()


@pytest.fixture
def members(tmp_path: Path) -> MemberList:
    (tmp_path / "members.yaml").write_text(MEMBERS)
    return MemberList(tmp_path / "members.yaml", RUN)


@contextmanager
def serving(members: MemberList, credentials: grpc.ServerCredentials | None) -> Iterator[int]:
    pool = futures.ThreadPoolExecutor(2)
    server = grpc.server(pool, interceptors=[StatusInterceptor()])
    greeter = Greeter(members)  # type: ignore[abstract]  # nobody makes the other calls
    operator_pb2_grpc.add_OperatorServicer_to_server(greeter, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(0).wait()
        pool.shutdown()


@pytest.fixture
def port(tmp_path: Path, ca: Authority, members: MemberList) -> Iterator[int]:
    tls = tls_files(tmp_path / "c", ca, Role.COORDINATOR, "main", hosts=("127.0.0.1",))
    with serving(members, server_credentials(tls, RUN)) as port:
        yield port


def ask(port: int, credentials: grpc.ChannelCredentials, host: str = "127.0.0.1") -> str:
    with grpc.secure_channel(f"{host}:{port}", credentials) as channel:
        stub = operator_pb2_grpc.OperatorStub(channel)
        return stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=20).run


def why_not(port: int, credentials: grpc.ChannelCredentials, host: str = "127.0.0.1") -> str:
    with pytest.raises(grpc.RpcError) as caught:
        ask(port, credentials, host)
    raise_for(caught.value)  # an error of ours would mean that it was let in
    return explain_rpc_error(caught.value)


def test_a_listed_operator_gets_in(tmp_path: Path, ca: Authority, port: int) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    assert ask(port, channel_credentials(tls, RUN, Role.OPERATOR)) == "ann"


@pytest.mark.parametrize(
    ("role", "name", "error", "sentence"),
    [
        (Role.OPERATOR, "eve", NotAMemberError, "eve is not on the member list"),
        (Role.OPERATOR, "aws", NotAMemberError, "its certificate says operator of acme"),
        (Role.WORKER, "aws", NotPermittedError, "aws has role worker; only operator may do this"),
    ],
)
def test_a_good_certificate_of_somebody_else_is_refused_with_a_sentence(
    tmp_path: Path, ca: Authority, port: int, role: Role, name: str, error: Any, sentence: str
) -> None:
    credentials = channel_credentials(tls_files(tmp_path / name, ca, role, name), RUN, role)
    with pytest.raises(grpc.RpcError) as caught:
        ask(port, credentials)
    with pytest.raises(error, match=sentence):
        raise_for(caught.value)


def test_a_certificate_of_another_run_is_refused(tmp_path: Path, ca: Authority, port: int) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann", run="other")
    with pytest.raises(grpc.RpcError) as caught:
        ask(port, dialled_with(tls))
    with pytest.raises(NotAMemberError, match="certificate of run 'other'; this is run 'demo'"):
        raise_for(caught.value)


def test_a_removed_name_is_refused_from_its_next_call_on(
    tmp_path: Path, ca: Authority, port: int
) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    credentials = channel_credentials(tls, RUN, Role.OPERATOR)
    assert ask(port, credentials) == "ann"
    (tmp_path / "members.yaml").write_text(MEMBERS.replace("ann", "bob"))
    with pytest.raises(grpc.RpcError) as caught:
        ask(port, credentials)
    with pytest.raises(NotAMemberError, match="ann is not on the member list"):
        raise_for(caught.value)


@pytest.mark.parametrize("bad", ["foreign", "expired", "coordinator's"])
def test_a_bad_certificate_does_not_get_to_the_service(
    tmp_path: Path, ca: Authority, port: int, bad: str
) -> None:
    folder = tmp_path / "bad"
    match bad:
        case "foreign":
            tls = tls_files(folder, authority(), Role.OPERATOR, "ann", trusts=ca)
        case "expired":
            tls = tls_files(folder, ca, Role.OPERATOR, "ann", days=(-3, -1))
        case _:
            tls = tls_files(folder, ca, Role.COORDINATOR, "ann", hosts=("x",))
    sentence = why_not(port, dialled_with(tls))
    assert "does not accept our certificate" in sentence
    good = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    assert ask(port, dialled_with(good)) == "ann"  # and the server is unharmed


def test_no_certificate_does_not_get_to_the_service(ca: Authority, port: int) -> None:
    assert "does not accept" in why_not(port, grpc.ssl_channel_credentials(ca.pem))


def test_a_coordinator_of_another_authority_is_not_trusted(
    tmp_path: Path, ca: Authority, port: int
) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann", trusts=authority())
    assert "is not signed by our CA file" in why_not(port, dialled_with(tls))


def test_a_coordinator_under_another_name_is_not_trusted(
    tmp_path: Path, ca: Authority, port: int
) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    assert "does not name the host" in why_not(port, dialled_with(tls), "localhost")


@pytest.mark.parametrize(
    ("role", "days", "sentence"),
    [
        (Role.WORKER, (-1, 1), "certificate that may not serve, so it is not the coordinator"),
        (Role.OPERATOR, (-1, 1), "certificate that may not serve"),
        (Role.COORDINATOR, (-3, -1), "the coordinator's certificate has expired"),
        (Role.COORDINATOR, (1, 3), "not valid yet: compare the two machines' clocks"),
    ],
)
def test_a_server_with_the_wrong_certificate_is_rejected_by_who_dials_it(
    tmp_path: Path,
    ca: Authority,
    members: MemberList,
    role: Role,
    days: tuple[int, int],
    sentence: str,
) -> None:
    theirs = tls_files(tmp_path / "x", ca, role, "x", hosts=("127.0.0.1",), days=days)
    ours = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    with serving(members, credentials_of(theirs)) as port:
        assert sentence in why_not(port, dialled_with(ours))


def test_plaintext_is_not_spoken_with_anybody(
    tmp_path: Path, ca: Authority, members: MemberList
) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    with serving(members, None) as port:
        assert "does not speak TLS" in why_not(port, dialled_with(tls))


def test_a_port_where_nothing_listens_is_said_so(
    tmp_path: Path, ca: Authority, members: MemberList
) -> None:
    tls = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    with serving(members, None) as port:
        pass
    assert "nothing listens there" in why_not(port, dialled_with(tls))


async def test_the_aio_server_keeps_the_same_door(
    tmp_path: Path, ca: Authority, members: MemberList
) -> None:
    theirs = tls_files(tmp_path / "c", ca, Role.COORDINATOR, "main", hosts=("127.0.0.1",))
    server = grpc.aio.server(interceptors=(AioStatusInterceptor(),))
    greeter = AioGreeter(members)  # type: ignore[abstract]  # nobody makes the other calls
    operator_pb2_grpc.add_OperatorServicer_to_server(greeter, server)
    port = server.add_secure_port("127.0.0.1:0", server_credentials(theirs, RUN))
    await server.start()
    try:
        answers = []
        for role, name in ((Role.OPERATOR, "ann"), (Role.WORKER, "aws")):
            tls = tls_files(tmp_path / name, ca, role, name)
            credentials = channel_credentials(tls, RUN, role)
            async with grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials) as channel:
                stub = operator_pb2_grpc.OperatorStub(channel)
                try:
                    answer = await stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=20)
                    answers.append(answer.run)
                except grpc.RpcError as e:
                    with pytest.raises(NotPermittedError, match="aws has role worker"):
                        raise_for(e)
                    answers.append("refused")
        assert answers == ["ann", "refused"]
    finally:
        await server.stop(None)


def serial_at(port: int, tls: TlsSettings) -> int:
    """Return the serial number of the certificate that is presented."""
    context = ssl.create_default_context(cafile=str(tls.ca))
    context.load_cert_chain(tls.certificate, tls.key)
    plain = socket.create_connection(("127.0.0.1", port), 20)
    with context.wrap_socket(plain, server_hostname="127.0.0.1") as secure:
        content = secure.getpeercert(binary_form=True)
    assert content is not None
    return x509.load_der_x509_certificate(content).serial_number


def test_a_server_presents_its_new_certificate_without_a_restart_and_never_a_bad_one(
    tmp_path: Path, ca: Authority, members: MemberList
) -> None:
    ann = tls_files(tmp_path / "ann", ca, Role.OPERATOR, "ann")
    theirs = tls_files(tmp_path / "c", ca, Role.COORDINATOR, "main", hosts=("127.0.0.1",))
    with serving(members, server_credentials(theirs, RUN)) as port:
        first = serial_at(port, ann)
        tls_files(tmp_path / "c", ca, Role.COORDINATOR, "main", hosts=("127.0.0.1",))
        second = serial_at(port, ann)
        assert second != first
        theirs.key.write_text("half a file")
        assert serial_at(port, ann) == second
        assert ask(port, dialled_with(ann)) == "ann"
        with pytest.raises(grpc.RpcError):  # who may come in is still asked
            ask(port, grpc.ssl_channel_credentials(ca.pem))


def test_a_caller_uses_its_new_certificate_from_its_next_call_on(
    tmp_path: Path, ca: Authority, members: MemberList
) -> None:
    (tmp_path / "members.yaml").write_text(MEMBERS.replace("name: ann, role", "name: eve, role"))
    theirs = tls_files(tmp_path / "c", ca, Role.COORDINATOR, "main", hosts=("127.0.0.1",))
    tls = tls_files(tmp_path / "x", ca, Role.OPERATOR, "ann")
    with serving(members, server_credentials(theirs, RUN)) as port:
        credentials = renewed_credentials(tls, RUN, Role.OPERATOR)
        with RenewedChannel(f"127.0.0.1:{port}", credentials) as channel:
            stub = operator_pb2_grpc.OperatorStub(channel)
            with pytest.raises(grpc.RpcError, match="ann is not on the member list"):
                stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=20)
            eve = tls_files(tmp_path / "eve", ca, Role.OPERATOR, "eve")
            tls.key.write_bytes(eve.key.read_bytes())
            tls.certificate.write_bytes(eve.certificate.read_bytes())
            assert stub.GetStatus(operator_pb2.GetStatusRequest(), timeout=20).run == "eve"
