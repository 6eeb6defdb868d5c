import pytest

from common import canonical
from common.documents import Abort
from common.errors import MalformedDocumentError
from common.ids import RoundId, is_round_id, is_worker_id

NONE = ("", "r1", "/tmp", "../log", "5E" * 16, "5e" * 15, "5e" * 17, "5e" * 16 + "\n", "٣" * 32)


def test_a_round_s_id_is_32_lower_case_hexadecimal_digits() -> None:
    assert is_round_id("5e" * 16)
    assert not any(map(is_round_id, NONE))


def test_a_worker_s_name_is_lower_case_letters_digits_and_inner_hyphens() -> None:
    assert all(map(is_worker_id, ("a", "aws-1", "0", "a" * 63)))
    assert not any(map(is_worker_id, ("", "-a", "a-", "A", "a/b", "..", "a\n", "a" * 64)))


@pytest.mark.parametrize("name", NONE)
def test_a_document_that_names_a_round_by_no_id_is_malformed(name: str) -> None:
    good = Abort(RoundId("5e" * 16), (), "stopped", "")
    assert canonical.decode(canonical.encode(good), Abort) == good
    content = canonical.encode(Abort(RoundId(name), (), "stopped", ""))
    with pytest.raises(MalformedDocumentError, match=r"Abort\.round: expected 32 lower-case hex"):
        canonical.decode(content, Abort)
