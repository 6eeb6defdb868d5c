from collections.abc import Mapping

import pytest

from services.wire.channels import OPTIONS, to
from services.wire.proxies import Proxy, is_loopback, proxy_for, split, unused

ON = {"https_proxy": "http://proxy:3128"}


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, ""),
        (ON, "proxy:3128"),
        ({"grpc_proxy": "http://one:1", "https_proxy": "http://two:2"}, "one:1"),
        ({"https_proxy": "http://two:2", "http_proxy": "http://three:3"}, "two:2"),
        ({**ON, "no_proxy": "localhost,.example.org"}, ""),
        ({**ON, "no_proxy": "example.com, "}, "proxy:3128"),
        ({"http_proxy": "http://p:1", "no_grpc_proxy": "other", "no_proxy": "example.org"}, "p:1"),
    ],
)
def test_the_proxy_is_the_one_that_grpc_would_take(environ: Mapping[str, str], proxy: str) -> None:
    found = proxy_for("coordinator.example.org:7443", environ)
    assert (f"{found.host}:{found.port}" if found else "") == proxy


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy", Proxy("https_proxy", "proxy", 443)),
        ("http://proxy:1/x?y", Proxy("https_proxy", "proxy", 1)),
        ("http://[fd00::1]:8080", Proxy("https_proxy", "fd00::1", 8080)),
        ("http://ann:p%40ss@proxy:1", Proxy("https_proxy", "proxy", 1, "ann:p@ss")),
        ("http://ann:p@ss@proxy:1", Proxy("https_proxy", "proxy", 1, "ann:p@ss")),
    ],
)
def test_a_url_is_read_in_all_its_parts(url: str, proxy: Proxy) -> None:
    assert proxy_for("x.org:1", {"https_proxy": url}) == proxy


def test_a_password_is_never_shown() -> None:
    found = proxy_for("x.org:1", {"http_proxy": "http://ann:secret@proxy:1"})
    assert found is not None
    assert "secret" not in f"{found} {found!r} {found.shown}"


@pytest.mark.parametrize(
    "url",
    [
        "http://ann:secret/x@proxy:1",
        "http://ann:1/secret@proxy:1",
        "http://ann:secret#@proxy:1",
        "http://ann:secret?@proxy:1",
        "http://ann:secret",
        "http://ann@proxy:secret",
        "http://secret@:1",
        "http://secret@proxy:99999",
    ],
)
def test_a_faulty_url_names_its_setting_and_nothing_else(url: str) -> None:
    environ = {"https_proxy": url}
    found = proxy_for("x.org:1", environ)
    assert found is not None
    assert found.fault.startswith("https_proxy: not a proxy's URL: write http://HOST:PORT")
    assert not any(word in f"{found!r} {found.shown}" for word in ("secret", "ann", "99999"))
    assert proxy_for("127.0.0.1:1", environ) is None
    assert proxy_for("x.org:1", {**environ, "no_proxy": "x.org"}) is None


def test_what_grpc_would_log_in_full_is_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    target, off = "x.org:1", ("grpc.enable_http_proxy", 0)
    for name in ("grpc_proxy", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "//ann:secret@proxy:1")
    assert off in to(target)
    monkeypatch.setenv("https_proxy", "http://ann:secret@proxy:1")
    assert off not in to(target)


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True),
        ("127.200.3.4", True),
        ("::1", True),
        ("[::1]", True),
        ("::ffff:127.0.0.1", True),
        ("0.0.0.0", True),
        ("localhost", True),
        ("LocalHost.", True),
        ("a.localhost", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.example.org", False),
    ],
)
def test_loopback_is_dialled_directly_whatever_the_environment_says(host: str, here: bool) -> None:
    assert is_loopback(host) == here
    target = f"[{host}]:7443" if host.count(":") > 1 and host[0] != "[" else f"{host}:7443"
    assert (proxy_for(target, ON) is None) == here
    assert (("grpc.enable_http_proxy", 0) in to(target)) == here
    assert to(target)[: len(OPTIONS)] == OPTIONS


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("host:1", ("host", 1)),
        ("host", ("host", 0)),
        ("[::1]:1", ("::1", 1)),
        ("[::1]", ("::1", 0)),
        ("::1", ("::1", 0)),
    ],
)
def test_a_target_falls_into_host_and_port(target: str, parts: tuple[str, int]) -> None:
    assert split(target) == parts


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        ({}, ""),
        (ON, ""),
        ({"https_proxy": ""}, ""),
        ({"https_proxy": "proxy:3128"}, "https_proxy is not http://HOST:PORT"),
        ({"http_proxy": "https://proxy:3128"}, "http_proxy is not http://HOST:PORT"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "gRPC does not read HTTPS_PROXY"),
        ({"HTTPS_PROXY": "http://proxy:3128", **ON}, ""),
    ],
)
def test_a_setting_that_grpc_does_not_heed_is_said(
    environ: Mapping[str, str], sentence: str
) -> None:
    assert sentence in unused(environ)
    assert bool(unused(environ)) == bool(sentence)
