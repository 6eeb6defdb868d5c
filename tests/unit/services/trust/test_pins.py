from pathlib import Path

import pytest

from common.errors import ConfigError
from common.ids import WorkerId
from common.secagg.signatures import key_id
from services.trust.authority import Holder, init_federation
from services.trust.identity import Role
from services.trust.pins import PINS, pin_workers, read_pins
from tests.attacks.harness import certified

KEY = "0" * 64


def test_what_was_pinned_is_read_back_by_name_with_the_key_of_the_certificate(
    tmp_path: Path,
) -> None:
    names = ("aws", "gcp")
    init_federation(tmp_path, "small", [Holder(Role.WORKER, n, f"{n}-inc") for n in names])
    pin_workers(tmp_path / PINS, [tmp_path / f"{n}.pem" for n in names])

    pins = read_pins(tmp_path / PINS)

    for n in names:
        pem, key = ((tmp_path / f"{n}.{kind}").read_bytes() for kind in ("pem", "key"))
        public = certified(WorkerId(n), pem, key).key.public_key()
        assert pins[n] == (f"{n}-inc", key_id(public))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "expected one key, `members`"),
        ("members: {}", "pins.yaml:1: members: expected a list"),
        ("members: []\nmore: 1", "expected one key, `members`"),
        ("members: [", "not YAML"),
        ("members: [2026-13-01]", "members[0]: expected the keys"),
        ("members: [{name: a, organisation: b}]", "pins.yaml:1: members[0]: key: missing; add it"),
        ("members: [1]", "members[0]: expected the keys name, organisation, key"),
        ("members: [{name: a, organisation: b, key: abc}]", "is not 64 hexadecimal digits"),
        (
            f"members: [{{name: a, organisation: b, key: '{KEY[1:]}G'}}]",
            "is not 64 hexadecimal digits",
        ),
        (
            f"members: [{{name: a, organisation: b, key: '{KEY}'}}, "
            f"{{name: a, organisation: c, key: '{KEY}'}}]",
            "members[1]: 'a' stands twice",
        ),
    ],
)
def test_a_file_that_is_wrong_says_where_and_what_to_write(
    tmp_path: Path, content: str, sentence: str
) -> None:
    (tmp_path / PINS).write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_pins(tmp_path / PINS)
    assert sentence in str(caught.value)
    assert str(tmp_path / PINS) in str(caught.value)


def test_a_missing_file_is_the_operator_s_to_mend(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the pins"):
        read_pins(tmp_path / PINS)
