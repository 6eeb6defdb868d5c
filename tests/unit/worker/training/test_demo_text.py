import pytest

from worker.training.demo_text import stdlib_shares, write_texts


@pytest.fixture(scope="module")
def split():
    return stdlib_shares(4)


def tops(share):
    return {path.split("/")[0] for path in share}


def test_no_file_is_in_two_places(split):
    parts = [*split.shares, split.validation]

    assert sum(len(p) for p in parts) == len({path for p in parts for path in p})


def test_whole_packages_go_to_one_worker(split):
    assert sum(len(tops(s)) for s in split.shares) == len(
        {t for s in split.shares for t in tops(s)}
    )


def test_shares_are_of_about_equal_size(split):
    sizes = [sum(len(text) for text in share.values()) for share in split.shares]

    assert min(sizes) > 1_000_000
    assert max(sizes) < 1.5 * min(sizes)


def test_the_validation_mix_is_bounded_and_taken_from_every_share(split):
    size = sum(len(text.encode()) for text in split.validation.values())
    places = sorted(path.split("/")[0] for path in split.validation)
    boundaries = [max(tops(share)) for share in split.shares]

    assert 150_000 < size <= 200_000
    assert all(any(place <= b for place in places) for b in boundaries)
    assert places[-1] > boundaries[-2]


def test_tests_and_installed_packages_are_left_out(split):
    paths = [path for part in (*split.shares, split.validation) for path in part]

    assert not [p for p in paths if {"test", "site-packages", "encodings"} & set(p.split("/"))]


def test_the_split_is_the_same_every_time(split):
    assert stdlib_shares(4) == split


def test_texts_are_written_byte_for_byte(tmp_path):
    write_texts({"a/b.py": "x = 'ä'\r\n"}, tmp_path)

    assert (tmp_path / "a" / "b.py").read_bytes() == "x = 'ä'\r\n".encode()
