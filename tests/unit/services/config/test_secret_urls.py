import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.doctor.findings import checked
from services.config.secret_urls import masked, problem_of, shown
from services.config.store_options import STORES
from services.observe import logs

SECRET = "S3cret"


@pytest.mark.parametrize(
    ("url", "as_shown"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://host", "redis://host"),
        ("redis://:S3cret@host:6379/0", "redis://:***@host:6379/0"),
        ("rediss://me:S3cret%2FPass@host:6379/0", "rediss://me:***@host:6379/0"),
        ("redis://S3cret@host", "redis://***@host"),
        ("redis+cluster://me:S3@cret@host:1?password=S3cret", "redis+cluster://me:***@host:1"),
        ("rediss://host:1/0?ssl_ca_certs=/S3cret/ca.pem", "rediss://host:1/0"),
        ("unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock"),
        ("unix://me:S3cret@/run/valkey.sock", "unix://me:***@/run/valkey.sock"),
        ("redis://me:S3cret@[::1]:6379/0", "redis://me:***@[::1]:6379/0"),
    ],
)
def test_a_sound_url_is_shown_without_its_secrets(url: str, as_shown: str) -> None:
    assert problem_of(url) == ""
    assert shown(url) == as_shown
    assert SECRET not in shown(url)


FAULTY = [
    ("redis://:S3cret/Pass@host:6379/0", "/ as %2F"),
    ("redis://:S3cret?Pass@host:6379/0", "? as %3F"),
    ("redis://:S3cret#Pass@host:6379/0", "# as %23"),
    ("redis://:S3cret]@host:6379/0", "] as %5D"),
    ("redis://:[S3cret@host:6379/0", "[ as %5B"),
    ("redis://:S3cret@host:port/0", "a port is a number"),
    ("redis://:S3cret@host:99999/0", "a port is a number to 65535"),
    ("redis://:S3cret:host:6379/0", "cannot be taken apart"),
    ("redis://:S3cret", "cannot be taken apart"),
    ("redis://:S3cret@", "names no host"),
    ("redis://:S3cret@host:/0", "no port after the colon"),
    ("redis://:S3cret@host/S3cret", "a database's number"),
    ("redis://:S3 cret@host", "percent-encode it (%20)"),
    ("redis://:S3cret@host\n", "a line's end"),
    (" redis://:S3cret@host", "is not a store's URL"),
    ("http://:S3cret@host", "is not a store's URL; write redis://HOST"),
    (":S3cret@host", "is not a store's URL"),
    ("S3cret", "is not a store's URL"),
    ("S3cret://x", "is not a store's URL"),
    ("unix://S3cret", "names no socket"),
    ("", "is not a store's URL"),
]


@pytest.mark.parametrize(("url", "sentence"), FAULTY)
def test_a_faulty_url_is_named_by_its_fault_and_never_shown(url: str, sentence: str) -> None:
    assert sentence in problem_of(url)
    assert SECRET not in problem_of(url)
    assert SECRET[:2] not in shown(url)


@given(
    st.sampled_from([*STORES, "http", ""]),
    st.text(alphabet="/?#@:[]%&= \\x", max_size=6),
    st.text(alphabet="/?#@:[]%&= \\x", max_size=6),
    st.sampled_from(["@host:6379/0", "@host", "@[::1]:1", "@"]),  # without an @ it is the host
)
def test_whatever_a_password_is_made_of_it_is_not_shown(
    scheme: str, before: str, after: str, rest: str
) -> None:
    url = f"{scheme}://me:{before}{SECRET}{after}{rest}"
    assert SECRET not in shown(url) + problem_of(url)


@pytest.mark.parametrize(
    "text",
    [
        "no answer from redis://me:S3cret@host:1, and from http://S3cret@proxy too",
        "redis://:S3cret/Pass@host:6379/0",
        "proxy http://me:S3cret#x@proxy:3128: refused",
        "'redis://x:S3cret@h'",
        "redis://h?password=S3cret&db=1",
        "coordinator.control: 'me:S3cret@host:7443': no",
        "me:S3cret@host:7443",
        "https://bucket/x?sig=1&token=S3cret",
    ],
)
def test_a_sentence_is_masked_whatever_url_is_in_it(text: str) -> None:
    assert SECRET not in masked(text)
    assert masked(masked(text)) == masked(text)


def test_what_is_no_secret_stays() -> None:
    for text in (
        "redis://me:***@host:1/0 answers",
        "a.yaml:3: x: aws@acme: no",
        "mail me@host",
        "https://host:1/a?b=c",
    ):
        assert masked(text) == text


@pytest.mark.parametrize("form", ["console", "json"])
def test_no_log_shows_a_password_nor_does_a_traceback_in_it(form: str) -> None:
    stream = io.StringIO()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        logs.configure(form, "info", run="r", process="p", stream=stream)  # type: ignore[arg-type]
        logging.warning("no answer from redis://:S3cret@host")
        try:
            int("redis://me:S3cret/x@host")
        except ValueError:
            logging.exception("a bug")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
    assert "redis://***@host" in stream.getvalue()
    assert SECRET not in stream.getvalue()


def test_no_finding_of_the_doctor_shows_one() -> None:
    from common.errors import ConfigError

    def look() -> str:
        raise ConfigError("redis://:S3cret/Pass@host:1: no")

    assert SECRET not in checked("redis", look).sentence


@pytest.mark.parametrize(
    "url",
    [
        "redis://h:1/0?ssl_cert_reqs=none",
        "unix:///s?ssl_ca_certs=/ca.pem",
        "redis://h?foo=1",
        "redis://h?decode_responses=true",
        "redis://h?encoding=utf-16",
        "rediss+cluster://h?socket_timeout=600",
        "redis://h?single_connection_client=True",
    ],
)
def test_an_option_that_is_none_or_ours_is_refused_by_name(url: str) -> None:
    name = url.partition("?")[2].partition("=")[0]
    assert problem_of(url).startswith(f"has an option {name!r} after the ?")


@pytest.mark.parametrize(
    "url",
    [
        "redis://h?db=1&client_name=x&health_check_interval=5&protocol=3",
        "unix:///s?username=u&password=p",
        "rediss://h?ssl_ca_certs=/ca.pem&ssl_cert_reqs=none",
        "rediss+cluster://h?ssl_certfile=/c.pem&ssl_keyfile=/c.key",
    ],
)
def test_options_of_a_store_pass(url: str) -> None:
    assert problem_of(url) == ""
