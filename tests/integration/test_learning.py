from dataclasses import replace
from pathlib import Path

import pytest

from common.documents import Codec, Commit, Genesis, Outer, Record, Schedule, Stop
from common.errors import ConfigError
from common.ids import Digest
from common.schema import ModelSchema, TensorSpec
from common.shards import PayloadLayout
from common.terms import round_layout
from simulator.experiment import Learned
from simulator.learning import learn
from tests.rig.workers.small_learner import NUM_SYMBOLS, RUN, SYNC, Bigram
from worker.training.schedule import learning_rate

SCHEMA = ModelSchema((TensorSpec("w", (NUM_SYMBOLS, NUM_SYMBOLS)),))
EXACT = Codec("float32", 32, 32, residual_decay=0.0)
PLAIN = Outer("sgd", 1.0, 0.0)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Learned, list[Record]]:
    told: list[Record] = []
    return learn(RUN, tmp_path_factory.mktemp("run"), told.append), told


@pytest.fixture
def learned(made: tuple[Learned, list[Record]]) -> Learned:
    return made[0]


def test_the_same_run_gives_the_same_figures_to_the_last_bit(
    tmp_path: Path, learned: Learned
) -> None:
    assert learn(RUN, tmp_path / "a") == learned
    other = learn(replace(RUN, seed=4), tmp_path / "b")
    assert other.digest != learned.digest
    assert other.traffic == learned.traffic


def test_it_learns_and_tells_how_on_the_way(made: tuple[Learned, list[Record]]) -> None:
    found, told = made
    assert [r.version for r in told] == [1, 2, 3, 4, 5, 6]
    assert [g.version for g in found.glances] == [2, 4, 6]
    losses = [g.loss for g in found.glances]
    assert losses == sorted(losses, reverse=True)
    assert found.loss < losses[0]
    assert found.evaluated_tokens == 2048
    assert found.glances[-1].up_bytes == found.bytes_moved("up", "update")
    assert found.glances[0].seconds < found.glances[1].seconds < found.seconds


def test_workers_alike_commit_just_their_local_steps_without_staleness(learned: Learned) -> None:
    assert (learned.versions, learned.exchanges, learned.steps) == (6, 24, 6 * 4 * 4)
    assert learned.age == 0


def test_masks_change_bytes_and_nothing_else(tmp_path: Path, learned: Learned) -> None:
    masked = learn(replace(RUN, algorithm=replace(SYNC, tier="masked")), tmp_path)
    assert masked.digest == learned.digest
    assert [g.loss for g in masked.glances] == [g.loss for g in learned.glances]
    tags = PayloadLayout(SCHEMA.length, 8, masked=True).tags_bytes
    more = masked.bytes_moved("up", "update") - learned.bytes_moved("up", "update")
    assert more == masked.exchanges * tags > 0


CODECS = (
    Codec(bits=8, first_bits=16),
    pytest.param(Codec(bits=16), marks=pytest.mark.long("the first version above has 16 bits")),
    Codec("cyclic", bits=8, first_bits=16, one_in=3),
    pytest.param(
        Codec("randk", bits=8, first_bits=16, one_in=3),
        marks=pytest.mark.long("its layout is that of cyclic"),
    ),
    Codec("topk", 2, 2, one_in=16),
    EXACT,
)


@pytest.mark.parametrize("codec", CODECS, ids=lambda c: f"{c.kind} {c.bits}")
def test_bytes_are_those_of_the_layout(tmp_path: Path, codec: Codec) -> None:
    told: list[Record] = []
    algorithm = replace(SYNC, codec=codec, outer=PLAIN if codec.kind == "topk" else SYNC.outer)
    found = learn(replace(RUN, algorithm=algorithm), tmp_path, told.append)
    layouts = [round_layout(_genesis(codec), c.plan.bits, c.plan.fragment) for c in _commits(told)]
    for traffic in found.traffic.values():
        assert traffic.up["update"] == sum(layout.sent_bytes for layout in layouts)
        assert traffic.up["control"] > 0
    down = [c.aggregate_bytes for c in _commits(told)]
    assert found.aggregate_bytes == sum(down)
    assert {t.down["aggregate"] for t in found.traffic.values()} == {sum(down[:-1])}  # it ends
    assert found.parameters == NUM_SYMBOLS**2


def _commits(records: list[Record]) -> list[Commit]:
    return [r.commit for r in records if r.commit is not None]


def _genesis(codec: Codec) -> Genesis:
    algorithm = replace(SYNC, codec=codec)
    return Genesis("simulated", 3, "", {}, SCHEMA, Digest(""), algorithm, RUN.stop)


def test_one_worker_with_a_plain_mean_trains_as_if_it_were_alone(tmp_path: Path) -> None:
    """FedAvg (McMahan et al. 2017, algorithm 1) of one is SGD."""
    algorithm = replace(SYNC, min_cohort=1, max_cohort=1, codec=EXACT, outer=PLAIN)
    run = replace(RUN, algorithm=algorithm, clouds=RUN.clouds[:1])
    found = learn(run, tmp_path)
    alone = Bigram(run.seed, "w0", {"size": 2048})
    for step in range(24):
        alone.train(learning_rate(SYNC.schedule, step // 4 / 6, step))
    assert found.loss == pytest.approx(alone.evaluate().loss, rel=1e-5)


def test_a_slow_link_takes_its_time_while_training_goes_on(
    tmp_path: Path, learned: Learned
) -> None:
    upload_s = 2.0
    up_bps = 8 * PayloadLayout(SCHEMA.length, 8).sent_bytes / upload_s
    clouds = (*RUN.clouds[:3], replace(RUN.clouds[3], up_bps=up_bps, down_bps=4 * up_bps))
    slow = learn(replace(RUN, clouds=clouds), tmp_path)
    assert slow.seconds > learned.seconds + 3
    assert slow.age > 0
    assert slow.steps > learned.steps


def test_a_slow_worker_contributes_fewer_steps_and_holds_nobody_up(tmp_path: Path) -> None:
    algorithm = replace(SYNC, policy="async", quorum=0.75)
    clouds = (*RUN.clouds[:3], replace(RUN.clouds[3], steps_per_s=0.25))
    run = replace(RUN, algorithm=algorithm, clouds=clouds, stop=Stop(versions=12))
    found = learn(run, tmp_path)
    assert found.versions == 12
    assert found.steps < 12 * 4 * 4


def test_a_run_that_makes_no_sense_is_refused_before_it_begins(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="max_cohort"):
        learn(replace(RUN, algorithm=replace(SYNC, codec=Codec(bits=4), max_cohort=8)), tmp_path)
    with pytest.raises(ConfigError, match="masked"):
        learn(replace(RUN, algorithm=replace(SYNC, tier="masked", codec=EXACT)), tmp_path)


def test_what_breaks_in_the_middle_is_said(tmp_path: Path) -> None:
    hot = replace(SYNC, schedule=Schedule(peak=1e6, warmup_steps=0))
    with pytest.raises(ArithmeticError, match="joke"):
        learn(replace(RUN, algorithm=hot), tmp_path)
