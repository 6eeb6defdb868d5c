"""The formula against updates that are drawn, and what of it `crosscloud plan` tells."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from commands.plan.likeness import COMMON, Likeness, cosine, likeness
from common.documents import Algorithm

FIGURES = Path(__file__).parents[4] / "benchmarks" / "results" / "threat.json"


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
@pytest.mark.parametrize("num", [2, 3, 8])
def test_the_cosine_is_that_of_drawn_updates(share: float, num: int) -> None:
    draw = np.random.default_rng([num, int(100 * share)])
    common = draw.standard_normal(400_000)
    own = draw.standard_normal((num, 400_000))
    updates = COMMON**0.5 * common + (1 - COMMON) ** 0.5 * own
    total = share * updates[0] + (1 - share) / (num - 1) * updates[1:].sum(axis=0)

    found = float(total @ updates[0] / np.linalg.norm(total) / np.linalg.norm(updates[0]))

    assert cosine(share, num) == pytest.approx(found, abs=0.005)


@pytest.mark.parametrize(
    ("num", "equal", "most"), [(3, 0.73, 0.92), (4, 0.69, 0.94), (8, 0.62, 0.96)]
)
def test_what_the_default_cap_permits_is_what_the_threat_model_measured(
    num: int, equal: float, most: float
) -> None:
    found = likeness(Algorithm(max_cohort=num), num)

    assert found is not None
    assert (round(found.equal, 2), round(found.most, 2)) == (equal, most)
    measured = json.loads(FIGURES.read_text())
    assert found.most == pytest.approx(measured[f"cosine_at_max_share_k{num}"], abs=0.005)


def test_colluders_take_their_parts_off() -> None:
    honest, colluding = Algorithm(min_cohort=4), Algorithm(min_cohort=4, colluding=1)

    assert likeness(colluding, 4) == likeness(honest, 3)


def test_where_the_cap_is_below_equal_parts_nobody_has_less_than_those() -> None:
    assert likeness(replace(Algorithm(), max_share=0.3), 2) == Likeness(
        cosine(0.5, 2), cosine(0.5, 2)
    )


def test_in_the_tls_tier_there_is_nothing_to_tell() -> None:
    assert likeness(Algorithm(tier="tls"), 4) is None
