"""Mutual TLS for every connection: credentials from files, checked before they are used.

A wrong certificate otherwise shows as "Socket closed" on the other machine. So each process first
checks its own (`services/trust/own.py`). What is left (the other side's certificate, host names) is
turned into a sentence by `explain_rpc_error`. There is no plaintext here.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar

import grpc

from services.config.renewed import Renewed
from services.config.settings import TlsSettings
from services.trust.identity import Role
from services.trust.own import check_own
from services.wire.proxies import Proxy, hint, proxy_for
from services.wire.renewed_channel import RenewedChannel

T = TypeVar("T")

# What gRPC says in `details()` of a connection that was there and is not any more.
_BREAKS: Final = ("Socket closed", "Stream removed", "Connection reset by peer", "Broken pipe")

# What gRPC says in `details()` -> what it means. First match wins. {at}, {to}, {of}: what was
# dialled, where that is known.
_SENTENCES: Final = (
    (
        "CERTIFICATE_VERIFY_FAILED: certificate has expired",
        "the coordinator's certificate has expired: its operator must issue a new one",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED: certificate is not yet valid",
        "the coordinator's certificate is not valid yet: compare the two machines' clocks",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED: unsupported certificate purpose",
        "what answered holds a certificate that may not serve, so it is not the coordinator: check "
        "the address",
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the coordinator's certificate is not signed by our CA file: check the address, and that "
        "both sides have the same federation's ca.pem",
    ),
    (
        "Hostname Verification Check failed",
        "the coordinator's certificate does not name the host that we dial: dial a name that it "
        "carries, or issue it again with this host",
    ),
    (
        "WRONG_VERSION_NUMBER",
        "what answered does not speak TLS, so it is not the coordinator: check address and port",
    ),
    (
        "HTTP proxy returned response code",
        "an HTTP proxy refuses to lead there: have the address allowed there, or put the host into "
        "no_proxy",
    ),
    (
        "Connection refused",
        "nothing listens {at}: check address and port, and that the coordinator runs",
    ),
    (
        "address lookup failed",
        "the coordinator's host name{of} cannot be resolved: check the address and this machine's "
        "DNS",
    ),
    (
        "No route to host",
        "there is no way {to}: check the address, and this machine's network",
    ),
    (
        "Network is unreachable",
        "there is no way {to}: check the address, and this machine's network",
    ),
    (
        "Method not found",
        "a coordinator's other port answers there: control and bulk are exchanged, so exchange the "
        "two addresses",
    ),
    *(
        (
            mark,
            "the coordinator closed the connection: it ended, or it does not accept our "
            "certificate, and then its own log names the reason",
        )
        for mark in _BREAKS
    ),
)

# The same where an HTTP proxy is in between.
_SENTENCES_BY_PROXY: Final = (
    (
        "HTTP proxy returned response code",
        "{proxy} refuses to lead to {target} ({details}): have it allowed there, see that user and "
        "password in {setting} are right, or put the host into no_proxy",
    ),
    ("Connection refused", "nothing listens at {proxy}: correct {fix}"),
    ("address lookup failed", "the host name of {proxy} cannot be resolved: correct {fix}"),
    ("No route to host", "there is no way to {proxy}: correct {fix}"),
    ("Network is unreachable", "there is no way to {proxy}: correct {fix}"),
    ("Expected '", "what answers is no HTTP proxy, but should be {proxy}: correct {fix}"),
    *(
        (
            mark,
            "the connection was closed, by {proxy} or by the coordinator behind it, which does "
            "that when it ends or does not accept our certificate: the logs of both name the "
            "reason",
        )
        for mark in _BREAKS
    ),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "what {proxy} leads to shows a certificate that is not our coordinator's: check the "
        "address and ca.pem, and that the proxy does not end TLS ({details})",
    ),
)


def server_credentials(tls: TlsSettings, run: str) -> grpc.ServerCredentials:
    """Return credentials of a coordinator that asks every caller for a certificate.

    Files that change are read again at the next connection; those that are open stay.

    Raises:
        ConfigError: our own certificate cannot serve this run; says what to do.
    """
    files = _renewed(tls, lambda: _server_configuration(tls, run))
    used = files.read()

    def newer() -> Any:  # None where nothing is new: the stubs do not know that gRPC takes it
        nonlocal used
        found = files.read()
        if found is used:
            return None
        used = found
        return used

    return grpc.dynamic_ssl_server_credentials(used, newer, require_client_authentication=True)


def _server_configuration(tls: TlsSettings, run: str) -> grpc.ServerCertificateConfiguration:
    own = check_own(tls, run, (Role.COORDINATOR,))
    return grpc.ssl_server_certificate_configuration([(own.key, own.certificate)], own.trusted)


def channel_credentials(
    tls: TlsSettings, run: str, role: Role, name: str = ""
) -> grpc.ChannelCredentials:
    """Return credentials for dialling the coordinator of `run` as `role`.

    Args:
        name: that the certificate must carry; "" = any.

    Raises:
        ConfigError: our own certificate cannot do this; says what to do.
    """
    own = check_own(tls, run, (role,), name=name)
    return grpc.ssl_channel_credentials(own.trusted, own.key, own.certificate)


def renewed_credentials(
    tls: TlsSettings, run: str, role: Role, name: str = ""
) -> Renewed[grpc.ChannelCredentials]:
    """Return `channel_credentials`, made again whenever the files change.

    Raises:
        ConfigError: our own certificate cannot do this; says what to do.
    """
    return _renewed(tls, lambda: channel_credentials(tls, run, role, name))


def _renewed(tls: TlsSettings, make: Callable[[], T]) -> Renewed[T]:
    return Renewed(f"certificate {tls.certificate}", (tls.ca, tls.certificate, tls.key), make)


def explain_rpc_error(
    error: grpc.RpcError | str,
    target: str = "",
    own: Renewed[grpc.ChannelCredentials] | None = None,
) -> str:
    """Return why a call failed, in a sentence for the operator of the dialling side.

    Args:
        target: HOST:PORT that was dialled; a proxy on the way is named; "" = not known.
        own: what it was dialled with; a certificate may have expired since.
    """
    if own is not None and (fault := own.fault()):
        return fault
    code, details = ("", error) if isinstance(error, str) else _said(error)
    if target and (proxy := proxy_for(target)) is not None:
        if proxy.fault:  # what gRPC says may hold the password
            return proxy.fault
        return _by_proxy(proxy, target, details, code)
    vain = hint(target) if target else ""
    return (_meaning(details, target) or f"the call failed{code}: {details}") + vain


def is_break(error: grpc.RpcError) -> bool:
    """Return whether the connection broke under a call: to whom it had answered, it accepts."""
    _, details = _said(error)
    return any(mark in details for mark in _BREAKS)


def explain_failed_call(error: grpc.RpcError, channel: grpc.Channel) -> str:
    """Return `explain_rpc_error` with all that the channel knows of itself."""
    if isinstance(channel, RenewedChannel):
        return explain_rpc_error(error, channel.target, channel.credentials)
    return explain_rpc_error(error)


def _by_proxy(proxy: Proxy, target: str, details: str, code: str) -> str:
    for mark, sentence in _SENTENCES_BY_PROXY:
        if mark in details:
            return sentence.format(
                proxy=proxy.shown,
                target=target,
                setting=proxy.setting,
                fix=f"{proxy.setting}, or put the host into no_proxy",
                details=details[details.index(mark) :].partition(":")[0],
            )
    failed = f"the call failed{code}: {details}"
    return f"{_meaning(details, target) or failed} ({proxy.shown} is in between)"


def _meaning(details: str, target: str) -> str:
    """Return the sentence for what gRPC says; "" where there is none."""
    sentence = next((sentence for mark, sentence in _SENTENCES if mark in details), "")
    at, to = (f"at {target}", f"to {target}") if target else ("there", "to that address")
    return sentence.format(at=at, to=to, of=f" of {target}" if target else "")


def _said(error: Any) -> tuple[str, str]:
    """Return what gRPC's errors say; all that come from a call can say it."""
    if not hasattr(error, "code"):
        return "", str(error)
    return f" ({error.code().name})", error.details() or "no details"
