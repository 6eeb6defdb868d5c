from pathlib import Path

import pytest

from benchmarks.compression import FULL, LIBRARY, ROWS, WIKITEXT, Row
from benchmarks.texts import Texts, contiguous, wikitext
from services.config.soundness import refuse_unsound

ARTICLE = " = {} = \n \n Text of {} . \n \n = = Part = = \n \n More . \n"


def _by_name(row: Row, name: str) -> Row:
    (found,) = (r for r in ROWS if (r.text, r.name) == (row.text, name))
    return found


def _id(row: Row) -> str:
    return f"{row.text}: {row.name}"


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_a_row_is_sound_in_the_tier_that_it_says(row: Row, tmp_path: Path) -> None:
    texts = Texts((tmp_path,) * 4, tmp_path)
    run = row.run(1, FULL, texts)
    refuse_unsound(run.algorithm, run.stop, num_workers=len(run.clouds))
    assert run.algorithm.tier == (row.tier or "tls")
    assert len(run.clouds) == (1 if row.pooled else 4)


@pytest.mark.parametrize("row", ROWS, ids=_id)
def test_a_row_is_compared_with_one_of_at_least_its_seeds_and_the_same_schedule(row: Row) -> None:
    assert _by_name(row, row.name) == row
    if row.reference:
        reference = _by_name(row, row.reference)
        assert reference.claimed >= row.claimed
        assert reference.local_steps == row.local_steps


def test_pooled_training_sees_all_text_and_as_many_tokens(tmp_path: Path) -> None:
    texts = Texts(tuple(tmp_path / str(i) for i in range(4)), tmp_path)
    pooled = next(r for r in ROWS if r.pooled).run(1, FULL, texts)
    apart = ROWS[0].run(1, FULL, texts)
    together = [path for cloud in apart.clouds for path in cloud.data["train"]]
    assert pooled.clouds[0].data["train"] == together
    assert pooled.settings["batch"] == 4 * apart.settings["batch"]
    assert pooled.stop == apart.stop


def test_both_texts_are_there() -> None:
    assert {r.text for r in ROWS} == {WIKITEXT, LIBRARY}


def test_articles_are_never_cut_and_neighbours_stay_together(tmp_path: Path) -> None:
    articles = [ARTICLE.format(n, n) for n in range(12)]
    (tmp_path / "test.txt").write_text(" \n" + "".join(articles))
    (tmp_path / "valid.txt").write_text("held out")
    texts = wikitext(tmp_path, tmp_path / "out", 4)
    shares = [path.read_text() for path in texts.shares]
    assert "".join(shares) == " \n" + "".join(articles)
    assert [s.count("Text of") for s in shares] == [3, 3, 3, 3]
    assert all(s.lstrip().startswith("= ") for s in shares)
    assert texts.validation.read_text() == "held out"


def test_shares_are_about_equally_long_whatever_the_documents() -> None:
    documents = ["x" * n for n in (50, 1, 1, 1, 47, 60, 40, 90, 10)]
    lengths = [sum(map(len, s)) for s in contiguous(documents, 3)]
    assert sum(lengths) == 300
    assert all(50 <= n <= 150 for n in lengths)
