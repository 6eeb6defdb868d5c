import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.config.addresses import Address, checked_host, here, joined, parsed


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("coordinator.example.org:7443", "coordinator.example.org", 7443),
        ("coordinator:7443", "coordinator", 7443),
        ("my_service:1", "my_service", 1),
        ("10.0.0.7:65535", "10.0.0.7", 65535),
        ("[::1]:7443", "::1", 7443),
        ("[2001:db8::7]:7443", "2001:db8::7", 7443),
        ("[fe80::1%eth0]:7443", "fe80::1%eth0", 7443),
        ("example.org.:7443", "example.org.", 7443),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parsed(text) == Address(host, port)
    assert str(parsed(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("localhost", "expected HOST:PORT, such as"),
        (":7443", "expected HOST:PORT"),
        ("", "expected HOST:PORT"),
        ("::1", "write [:]:1"),
        ("::1:7443", "write [::1]:7443, or [::1:7443]:PORT"),
        ("[::1]", "expected HOST:PORT"),
        ("[::1", "expected a host"),
        ("[10.0.0.7]:1", "without a port"),
        ("host:0", "a port is a number from 1 to 65535"),
        ("host:99999", "a port is a number from 1 to 65535"),
        ("host:7443/", "a port is a number"),
        ("host:٣", "a port is a number"),
        ("https://host:7443", "expected HOST:PORT alone, host:7443: leave out"),
        ("https://host:7443/x", "expected HOST:PORT alone, host:7443: leave out"),
        ("dns:///host:7443", "expected HOST:PORT alone, host:7443: leave out"),
        ("ipv6:[::1]:7443", "leave out what stands around it"),
        ("https://me:S3cret@host:7443", "expected HOST:PORT alone: leave out"),
        ("me:S3cret@host:7443", "delete what is before @"),
        ("a b:7443", "no host's name"),
        ("300.1.1.1:7443", "no host's name, nor an address"),
        ("bücher.example:7443", "write xn--bcher-kva.example"),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        parsed(text)


@pytest.mark.parametrize("text", ["::", "[::]", "::1", "[::1]", "0.0.0.0", "localhost", "a.b-c.d"])
def test_a_host_may_have_the_brackets_of_an_ipv6_address(text: str) -> None:
    assert checked_host(text) == text.strip("[]")
    assert parsed(joined(checked_host(text), 7443)) == (text.strip("[]"), 7443)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("host:7443", "without a port"),
        ("[::]:7443", "without a port"),
        ("0.0.0.0:7443", "without a port"),
        ("http://host", "alone"),
        ("*", "no host's name"),
        ("", "alone"),
        ("[]", "alone"),
        ("[host]", "without a port"),
        ("127.1", "no host's name"),
        ("-a", "no host's name"),
        ("bücher", "write xn--bcher-kva"),
        ("a..b", "no host's name"),
        ("ü" * 70, "write its form in ASCII"),
    ],
)
def test_a_host_that_is_none_is_refused_with_what_to_write(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        checked_host(text)


def test_here_is_where_a_listener_on_all_addresses_is_reached() -> None:
    assert [here(h) for h in ("0.0.0.0", "::", "10.0.0.7")] == ["127.0.0.1", "::1", "10.0.0.7"]


@given(st.ip_addresses(), st.integers(1, 65535))
def test_every_ip_address_comes_back(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    assert parsed(joined(str(ip), port)) == (str(ip), port)


@given(st.text(alphabet="a1.:[]/@-%*_ü ", max_size=20))
def test_any_text_is_an_address_or_a_sentence(text: str) -> None:
    try:
        host, port = parsed(text)
    except ValueError:
        return
    assert parsed(joined(host, port)) == (host, port)
