from dataclasses import replace
from typing import Any

import pytest

from common.constants import values
from common.documents import Algorithm, Codec, Outer, Schedule, Stop
from common.errors import ConfigError
from common.progress import MAX_ROUNDS_AHEAD
from services.config.presets import PRESETS
from services.config.soundness import complaints, loud, refuse_unsound
from tests.rig.rounds.small_run import TLS

STOP = Stop(versions=20)
FLOAT32 = Codec(kind="float32", bits=32, first_bits=32)


def refused(
    stop: Stop = STOP,
    /,
    num_workers: int | None = None,
    num_organisations: int | None = None,
    **changes: Any,
) -> str:
    with pytest.raises(ConfigError) as caught:
        refuse_unsound(
            replace(Algorithm(), **changes),
            stop,
            num_workers=num_workers,
            num_organisations=num_organisations,
        )
    return str(caught.value)


def test_what_protects_less_than_the_default_is_said() -> None:
    assert not list(loud(Algorithm()))
    assert not list(loud(replace(Algorithm(), colluding=1, min_cohort=4)))
    (pairs,) = loud(replace(Algorithm(), min_cohort=2))
    assert pairs.startswith("algorithm.min_cohort: 2: in a sum of 2 each honest member can")
    (helped,) = loud(replace(Algorithm(), colluding=1, min_cohort=3))
    assert "with the 1 colluding ones, can compute the other's update; set it to 4" in helped
    (seen,) = loud(TLS)
    assert "the coordinator sees every worker's update" in seen


def test_presets_are_those_of_their_papers() -> None:
    """McMahan et al. 2017, algorithm 1: a mean by samples. DiLoCo (Douillard et al. 2023)."""
    fedavg, diloco = PRESETS["fedavg"].algorithm, PRESETS["diloco"].algorithm
    assert (fedavg.normalisation, fedavg.outer) == ("samples", Outer("sgd", 1.0, 0.0))
    assert (diloco.policy, diloco.outer) == ("sync", Outer("nesterov", 0.7, 0.9))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_sound_and_gives_reasons_for_what_it_changes(name: str) -> None:
    preset = PRESETS[name]
    refuse_unsound(preset.algorithm, STOP, num_workers=4)
    default = PRESETS["async_diloco"].algorithm
    changed = {
        field
        for field in Algorithm.__dataclass_fields__
        if getattr(preset.algorithm, field) != getattr(default, field)
    }
    assert changed <= preset.reasons.keys()
    assert preset.reasons.keys() <= Algorithm.__dataclass_fields__.keys()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"policy": "asynch"}, "algorithm.policy: 'asynch' is not known; did you mean 'async'?"),
        ({"normalisation": "tokns"}, "did you mean 'tokens'?"),
        ({"staleness": "x"}, "one of poly, hinge, constant"),
        ({"codec": Codec(kind="float16")}, "algorithm.codec.kind: 'float16' is not known"),
        ({"outer": Outer(kind="adam")}, "algorithm.outer.kind: 'adam' is not known"),
    ],
)
def test_a_word_that_is_not_known_is_refused(changes: dict[str, Any], sentence: str) -> None:
    assert sentence in refused(**changes)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("quorum", 0.0),
        ("quorum", 1.1),
        ("max_cohort", 0),
        ("min_cohort", 0),
        ("colluding", -1),
        ("staleness_exponent", -0.5),
        ("max_staleness", 0.0),
        ("max_share", 1.0),
        ("min_local_steps", 0),
        ("codec.step_multiple", 0.0),
        ("codec.residual_decay", 1.01),
        ("outer.learning_rate", 0.0),
        ("outer.momentum", 1.0),
        ("schedule.peak", 0.0),
        ("schedule.warmup_steps", -1),
        ("schedule.floor", 1.5),
        ("schedule.horizon_tokens", -1),
    ],
)
def test_a_number_out_of_range_is_refused_by_its_path(path: str, value: float) -> None:
    group, _, name = path.rpartition(".")
    parts: dict[str, Any] = {"codec": Codec(), "outer": Outer(), "schedule": Schedule()}
    changes = {group: replace(parts[group], **{name: value})} if group else {name: value}
    assert refused(**changes).startswith(f"algorithm.{path}: {value!r} must be ")


def test_of_several_words_and_numbers_the_first_of_the_table_is_refused() -> None:
    """Words first, and then numbers: what operators have seen does not change with the table."""
    wrong = Algorithm(
        *("x", 0, 0.0, "x", 0, -1, "x", "x", -1.0, 0.0, 0.0),
        min_local_steps=0,
        codec=Codec(kind="x", step_multiple=0.0, residual_decay=2.0),
        outer=Outer("x", 0.0, 1.0),
        schedule=Schedule(0.0, -1, 2.0, -1),
    )
    found = complaints(wrong, Stop(-1, -1, -1.0, -1.0), (), None)
    words = ("policy", "tier", "normalisation", "staleness", "codec.kind", "outer.kind")
    numbers = (
        *("max_cohort", "min_cohort", "colluding", "quorum", "staleness_exponent", "max_staleness"),
        *("max_share", "min_local_steps", "codec.step_multiple", "codec.residual_decay"),
        *("outer.learning_rate", "outer.momentum", "schedule.peak", "schedule.warmup_steps"),
        *("schedule.floor", "schedule.horizon_tokens"),
    )
    stops = ("versions", "tokens", "hours", "loss")
    first = [*(f"algorithm.{n}" for n in (*words, *numbers)), *(f"stop.{n}" for n in stops)]
    assert [next(found).partition(":")[0] for _ in first] == first


LATER = [path for path, row, _ in values(Algorithm(), STOP) if row.later]


@pytest.mark.parametrize("path", LATER)
def test_what_is_not_there_yet_may_be_its_default_alone(path: str) -> None:
    group, _, name = path.removeprefix("algorithm.").rpartition(".")
    holder = getattr(Algorithm(), group) if group else Algorithm()
    usual = getattr(holder, name)
    other = "dynamic" if isinstance(usual, str) else type(usual)(usual + 1)
    changes = {group: replace(holder, **{name: other})} if group else {name: other}
    sentence = f"{path}: {other!r} is not available in this version, {usual!r} alone is: leave it"
    assert refused(**changes).startswith(sentence)


def test_how_far_a_worker_runs_ahead_is_what_the_genesis_says() -> None:
    assert Algorithm().rounds_ahead == MAX_ROUNDS_AHEAD


def test_more_least_than_most_local_steps_is_refused() -> None:
    assert "local_steps: 3 is below min_local_steps 5" in refused(local_steps=3)


def test_a_tier_that_does_not_exist_yet_is_refused() -> None:
    assert "'he' is not available in this version" in refused(tier="he")


def test_a_tier_that_the_coordinator_does_not_allow_is_refused() -> None:
    with pytest.raises(ConfigError, match="not among the coordinator's allowed_tiers"):
        refuse_unsound(Algorithm(), STOP, allowed_tiers=("tls",))


def test_float32_is_exact_or_refused() -> None:
    refuse_unsound(replace(TLS, codec=FLOAT32), STOP)
    wrong = replace(FLOAT32, first_bits=16)
    assert "float32 has bits 32" in refused(tier="tls", codec=wrong)
    assert "cannot be masked" in refused(codec=FLOAT32)


@pytest.mark.parametrize(("bits", "most"), [(4, 7), (8, 127)])
def test_a_ring_takes_as_many_members_as_fit_and_no_more(bits: int, most: int) -> None:
    codec = Codec(bits=bits)
    refuse_unsound(replace(Algorithm(), codec=codec, max_cohort=most), STOP)
    message = refused(codec=codec, max_cohort=most + 1)
    assert f"codec.bits {bits}: at most {most} fit" in message


def test_the_first_rounds_ring_is_checked_too() -> None:
    assert "codec.first_bits 4: at most 7 fit" in refused(codec=Codec(first_bits=4))


def test_a_width_that_is_no_ring_is_refused() -> None:
    assert "algorithm.codec.bits: 32 is not the width of a ring" in refused(codec=Codec(bits=32))


def test_cohorts_that_could_never_open_are_refused() -> None:
    assert "no round could ever open" in refused(min_cohort=9)
    assert "member list has 2" in refused(min_cohort=3, num_workers=2)
    assert "colluding workers not even all" in refused(colluding=8)


def test_sync_with_a_cohort_smaller_than_the_member_list_is_refused() -> None:
    assert "waits for all 5 workers" in refused(policy="sync", max_cohort=4, num_workers=5)
    refuse_unsound(replace(Algorithm(), policy="async", max_cohort=4), STOP, num_workers=5)


def test_a_share_that_equal_members_already_exceed_is_refused() -> None:
    assert "at least 0.500" in refused(tier="tls", min_cohort=1, max_share=0.49)
    refuse_unsound(replace(TLS, max_share=0.5), STOP)
    refuse_unsound(replace(Algorithm(), max_share=0.34, min_cohort=3), STOP)


def test_a_bound_for_a_loss_policy_that_does_not_exist_is_refused() -> None:
    assert "no loss policy is available" in refused(max_policy_factor=2.0)


def test_momentum_that_would_be_ignored_is_refused() -> None:
    assert "sgd has none, 0.8 would be ignored" in refused(outer=Outer(kind="sgd"))


def test_a_run_without_an_end_is_refused() -> None:
    assert "a run has to end" in refused(Stop())


def test_a_run_that_only_loss_ends_needs_a_horizon() -> None:
    assert "schedule.horizon_tokens" in refused(Stop(loss=2.0))
    with_horizon = replace(Algorithm(), schedule=Schedule(horizon_tokens=10**6))
    refuse_unsound(with_horizon, Stop(loss=2.0))
    assert "stop.hours: -1.0 must be" in refused(Stop(hours=-1.0))


def test_too_few_organisations_for_a_masked_cohort_are_refused() -> None:
    few = refused(min_cohort=3, num_workers=3, num_organisations=2)
    assert "the 3 on the member list are of 2: no round could ever open" in few
    refuse_unsound(replace(Algorithm(), min_cohort=3), STOP, num_workers=4, num_organisations=3)


def test_fewer_workers_than_a_cohort_are_counted_as_workers() -> None:
    assert "member list has 2" in refused(min_cohort=3, num_workers=2, num_organisations=1)


def test_in_the_tls_tier_a_party_may_have_every_worker() -> None:
    tls = replace(Algorithm(), tier="tls", min_cohort=3)
    refuse_unsound(tls, STOP, num_workers=3, num_organisations=1)


def test_a_masked_sync_cohort_has_to_hold_every_organisation_and_no_more() -> None:
    sync: dict[str, Any] = {"policy": "sync", "max_cohort": 4}
    refuse_unsound(replace(Algorithm(), **sync), STOP, num_workers=6, num_organisations=4)
    said = refused(num_workers=6, num_organisations=5, **sync)
    assert "waits for all 5 workers' organisations" in said
