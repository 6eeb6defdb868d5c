"""Checks the way to the coordinator: name, TCP (or the proxy's CONNECT), TLS, gRPC, clock.

gRPC itself says "unavailable" to most of what can be wrong here; so each step is tried alone, with
sockets of our own, and the last one through gRPC as the processes do it.
"""

import base64
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any, Final

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from commands.doctor.findings import Finding, Stopwatch, checked, or_else
from common.errors import ConfigError
from services.config.addresses import joined, parsed
from services.config.settings import TlsSettings
from services.trust.authority_file import read_authority, trusted_pem
from services.wire.channels import dial
from services.wire.credentials import explain_rpc_error
from services.wire.proxies import Proxy, hint, proxy_for
from services.wire.serving import TIME_KEY

_TIMEOUT_S: Final = 10.0
_MOST_SKEW_S: Final = 30.0


def reach(what: str, address: str, tls: TlsSettings) -> Iterator[Finding]:
    """Yield what is found on the way to one port, up to the first step that fails."""
    host, port = parsed(address)
    proxy = proxy_for(address)
    if proxy is not None and proxy.fault:
        yield Finding(f"{what} proxy", False, proxy.fault)
        return
    hop = (host, port) if proxy is None else (proxy.host, proxy.port)
    steps = (
        ("name", lambda: _name(hop[0], proxy)),
        ("tcp", lambda: _tcp(hop, host, port, proxy)),
        ("tls", lambda: _tls(hop, host, port, proxy, tls)),
    )
    for step, look in steps:
        finding = checked(f"{what} {step}", look)
        yield finding
        if not finding.ok:
            return


def health(address: str, credentials: grpc.ChannelCredentials) -> Iterator[Finding]:
    """Yield whether the control port answers in gRPC, and how far apart the two clocks are."""
    skews: list[float] = []
    yield checked("control grpc", lambda: _health(address, credentials, skews))
    if skews:
        yield checked("clock", lambda: _clock(skews[0]))


def is_bulk(address: str, credentials: grpc.ChannelCredentials) -> Finding:
    """Find out whether the bulk port is one: a control port tells its health."""
    return checked("bulk grpc", lambda: _bulk(address, credentials))


def _name(host: str, proxy: Proxy | None) -> str:
    fix = f"the address {host!r}" if proxy is None else f"{proxy.setting}, which names {host!r}"
    vain = "" if proxy else hint(host)
    with or_else(f"correct {fix}, or this machine's DNS{vain}"):
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    return f"{host} is {', '.join(sorted(addresses))}"


def _tcp(hop: tuple[str, int], host: str, port: int, proxy: Proxy | None) -> str:
    watch = Stopwatch()
    _connected(hop, host, port, proxy).close()
    by = "" if proxy is None else f" by {proxy.shown}"
    return f"{joined(host, port)} answers{by} in {watch.ms:.0f} ms"


def _tls(hop: tuple[str, int], host: str, port: int, proxy: Proxy | None, tls: TlsSettings) -> str:
    context = ssl.create_default_context(cadata=trusted_pem(read_authority(tls.ca)).decode("ascii"))
    context.load_cert_chain(str(tls.certificate), str(tls.key))
    context.set_alpn_protocols(["h2"])
    plain = _connected(hop, host, port, proxy)
    try:
        with context.wrap_socket(plain, server_hostname=host) as secure:
            version, protocol = secure.version(), secure.selected_alpn_protocol()
    except ssl.SSLCertVerificationError as e:
        said = e.verify_message
        mark = "Hostname Verification Check failed" if "match" in said else "CERTIFICATE_VERIFY"
        sentence = explain_rpc_error(mark if "match" in said else f"{mark}_FAILED: {said}")
        raise ConfigError(f"{said}: {sentence}") from None
    except (OSError, EOFError) as e:
        raise ConfigError(
            f"{joined(host, port)} does not shake hands ({e}): check address and port, and that "
            "what is in between passes TCP through and does not end TLS"
        ) from None
    finally:
        plain.close()
    if protocol != "h2":
        raise ConfigError(f"{joined(host, port)} does not speak HTTP/2: check address and port")
    return f"{joined(host, port)} is the coordinator, {version}"


def _connected(hop: tuple[str, int], host: str, port: int, proxy: Proxy | None) -> socket.socket:
    """Return an open connection to host:port, by the proxy where there is one."""
    if proxy is None:
        what = f"address, port and firewall, and that the coordinator runs{hint(host)}"
    else:
        what = f"{proxy.setting}, or put the host into no_proxy"
    who = joined(*hop) if proxy is None else proxy.shown
    with or_else(f"nobody answers at {who}: check {what}"):
        connection = socket.create_connection(hop, _TIMEOUT_S)
    if proxy is None:
        return connection
    target = joined(host, port)
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if proxy.user:
        user = base64.b64encode(proxy.user.encode()).decode()
        request += f"Proxy-Authorization: Basic {user}\r\n"
    try:
        connection.sendall(f"{request}\r\n".encode())
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < 2**16 and (more := connection.recv(4096)):
            answer += more
    except OSError as e:
        connection.close()
        raise ConfigError(f"{proxy.shown} does not answer CONNECT: {e}") from None
    status = answer.split(b"\r\n")[0].decode("ascii", "replace")
    if " 200" not in status:
        connection.close()
        raise ConfigError(
            f"{proxy.shown} refuses CONNECT {target} ({status or 'no answer'}): have it allowed "
            "there, or put the host into no_proxy"
        )
    return connection


def _health(address: str, credentials: grpc.ChannelCredentials, skews: list[float]) -> str:
    with dial(address, credentials) as channel:
        request = health_pb2.HealthCheckRequest()
        try:
            before_s = time.time()
            answer, call = health_pb2_grpc.HealthStub(channel).Check.with_call(
                request, timeout=_TIMEOUT_S
            )
            took_s = time.time() - before_s
        except grpc.RpcError as e:
            if _is_unknown(e):
                raise ConfigError(
                    f"{address} is a coordinator's bulk port, and stands where its control port "
                    "should: exchange the two, or correct the port"
                ) from None
            raise ConfigError(explain_rpc_error(e, address)) from None
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise ConfigError(f"{address} is not serving yet: wait for the coordinator to start")
    said = dict(call.initial_metadata())
    if TIME_KEY in said:
        skews.append(int(said[TIME_KEY]) / 1000 - (before_s + took_s / 2))
    return f"{address} serves, {1000 * took_s:.0f} ms"


def _bulk(address: str, credentials: grpc.ChannelCredentials) -> str:
    with dial(address, credentials) as channel:
        request = health_pb2.HealthCheckRequest()
        try:
            health_pb2_grpc.HealthStub(channel).Check(request, timeout=_TIMEOUT_S)
        except grpc.RpcError as e:
            if _is_unknown(e):
                return f"{address} is the bulk port"
            raise ConfigError(explain_rpc_error(e, address)) from None
    raise ConfigError(
        f"{address} is a coordinator's control port, and stands where its bulk port should: "
        "exchange the two, or correct the port"
    )


def _is_unknown(error: Any) -> bool:
    return hasattr(error, "code") and error.code() is grpc.StatusCode.UNIMPLEMENTED


def _clock(skew_s: float) -> str:
    if abs(skew_s) > _MOST_SKEW_S:
        raise ConfigError(
            f"the coordinator's clock is {skew_s:+.0f} s off ours: let both machines follow NTP"
        )
    return f"the coordinator's clock is {skew_s:+.2f} s off ours"
