"""`proxies.py` held against gRPC itself, and what is said when a proxy is in the way."""

import contextlib
import socket
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path

import grpc
import pytest

from commands.demo.layout import free_ports
from services.trust.identity import Role
from services.wire.channels import dial
from services.wire.credentials import explain_rpc_error
from services.wire.proxies import grpcs_proxy_for
from tests.rig.certificates import authority, tls_files
from tests.rig.links.connect_proxy import ConnectProxy

VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy")
TARGETS = ("coordinator.invalid:9", "127.1.2.3:9", "[::1]:9")  # nobody there, known at once


def call(channel: grpc.Channel) -> grpc.RpcError:
    with channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/a/b", bytes, bytes)(b"", timeout=30)
    return caught.value


def raw(target: str) -> grpc.Channel:
    """Return a channel as gRPC makes it, without any rule of ours."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"https_proxy": "PROXY"},
        {"http_proxy": "PROXY"},
        {"grpc_proxy": "PROXY"},
        {"grpc_proxy": "", "https_proxy": "PROXY"},
        {"https_proxy": "", "http_proxy": "PROXY"},
        {"https_proxy": "PROXY/"},
        {"https_proxy": "BARE"},
        {"https_proxy": "https://BARE"},
        {"https_proxy": "HTTP://BARE"},
        {"https_proxy": "http://ann:p%40ss@BARE"},
        {"https_proxy": "http://ann:p@ss@BARE"},
        {"https_proxy": "http://ann:p ss@BARE"},
        *(
            {"https_proxy": "PROXY", "no_proxy": no_proxy}
            for no_proxy in (
                "*",
                "invalid",
                ".INVALID",
                "other, coordinator.invalid",
                "coordinator.invalid:9",
                "other, ",
                "127.0.0.0/8",
                "127.0.0.0/8,::1/8",
                "[::1]/100",
                "127.1.2.3",
                "1.2.3",
                "127.1.2.99/24",
                "127.1.2.3/ 32",
                "127.1.2.3/64",
                "127.1.2.3/32/5",
                "127.1.2.3/-1",
                "127.1.2.3/",
                "11.0.0.0/0",
                "::/0",
                "0.0.0.0/0",
            )
        ),
        {"https_proxy": "PROXY", "no_grpc_proxy": "", "no_proxy": "invalid"},
        {"https_proxy": "PROXY", "no_grpc_proxy": "invalid", "no_proxy": "127.0.0.0/8"},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", TARGETS)
def test_our_rule_is_grpcs_own(
    target: str, environ: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        for name, value in environ.items():
            value = value.replace("PROXY", proxy.url).replace("BARE", proxy.address)
            monkeypatch.setenv(name, value)
        found = grpcs_proxy_for(target)
        call(raw(target))
        assert set(proxy.asked) == (set() if found is None else {target})
        assert found is None or f"{found.host}:{found.port}" == proxy.address


def test_loopback_is_dialled_directly_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with ConnectProxy(refusal="403 Forbidden") as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        for host in ("127.0.0.1", "localhost", "[::1]"):
            target = f"{host}:9"
            e = call(dial(target, grpc.ssl_channel_credentials()))
            assert "proxy" not in explain_rpc_error(e, target)
        assert proxy.asked == []


TARGET = "coordinator.invalid:7443"


def why_not(target: str = TARGET) -> str:
    return explain_rpc_error(call(dial(target, grpc.ssl_channel_credentials())), target)


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
def test_a_refusal_by_a_proxy_names_the_proxy_and_not_the_coordinator(
    monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    with ConnectProxy(refusal=status) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url.replace("//", "//ann:secret@"))
        said = why_not()
    assert f"the proxy {proxy.address} (https_proxy) refuses to lead to {TARGET}" in said
    assert f"response code {status[:3]}" in said
    assert "secret" not in said


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    assert f"nothing listens at the proxy 127.0.0.1:{port} (http_proxy)" in why_not()


@pytest.mark.parametrize("url", ["http://ann:secret/x@PROXY", "//ann:secret@PROXY"])
def test_a_faulty_setting_is_named_and_its_password_is_not(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str
) -> None:
    monkeypatch.setenv("https_proxy", url.replace("PROXY", "127.0.0.1:1"))
    said = why_not()
    assert "https_proxy" in said
    assert "secret" not in said + "".join(capfd.readouterr())


def test_a_proxy_whose_name_nobody_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://proxy.invalid:3128")
    assert "the host name of the proxy proxy.invalid:3128 (grpc_proxy) cannot" in why_not()


def test_a_proxy_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("https_proxy", f"http://{address}")

        def answer() -> None:
            caller, _ = server.accept()
            with caller:
                caller.recv(4096)
                caller.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")
                caller.recv(4096)

        answering = threading.Thread(target=answer)
        answering.start()
        said = why_not()
        answering.join()
    assert "what answers is no HTTP proxy" in said
    assert address in said


def test_a_proxy_that_ends_tls_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls = tls_files(tmp_path, authority(), Role.COORDINATOR, "x", hosts=("coordinator.invalid",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def shake() -> None:
            plain, _ = server.accept()
            with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as end:
                end.recv(1)

        shaking = threading.Thread(target=shake)
        shaking.start()
        with ConnectProxy({"coordinator.invalid": "127.0.0.1"}) as proxy:
            monkeypatch.setenv("https_proxy", proxy.url)
            said = why_not(f"coordinator.invalid:{port}")
        shaking.join()
    assert f"what the proxy {proxy.address} (https_proxy) leads to" in said
    assert "does not end TLS" in said


def test_a_host_that_nobody_knows_is_said_so() -> None:
    assert "the coordinator's host name of coordinator.invalid:7443 cannot be resolved" in why_not()
