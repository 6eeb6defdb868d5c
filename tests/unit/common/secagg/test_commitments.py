import pytest

from common.secagg.commitments import commit, matches

SECRET = bytes(range(32))


def test_only_the_committed_secret_matches_and_only_for_its_purpose() -> None:
    commitment = commit("commit-self", SECRET)
    assert len(commitment) == 32
    assert matches(commitment, "commit-self", SECRET)
    assert not matches(commitment, "commit-kappa", SECRET)
    assert not matches(commitment, "commit-self", SECRET[::-1])


@pytest.mark.parametrize("num", [0, 31, 33])
def test_what_has_another_size_never_matches(num: int) -> None:
    assert not matches(commit("commit-self", SECRET), "commit-self", bytes(num))
    assert not matches(bytes(num), "commit-self", SECRET)
    with pytest.raises(ValueError, match=f"{num} bytes"):
        commit("commit-self", bytes(num))
