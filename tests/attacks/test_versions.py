"""What becomes of a sum: rule 14, the public tags, and one chain for all."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from common import canonical
from common.documents import Commit, SideValues
from common.errors import BadCommitError, BadUpdateError
from common.rounds import Rule
from common.secagg.tags import MODULUS
from common.shards import PayloadLayout, pack_tag_sums, unpack_tags
from services.disk.data_store import DataStore
from services.versions.replica import Replica
from tests.attacks.harness import A, B, C, Registry, Table, V
from tests.rig.rounds.small_run import Run
from worker.rounds.position import genesis_position

Forge = Callable[[Commit, bytes], tuple[Commit, bytes]]


def step(registry: Registry, folder: Path, forge: Forge, unsafe: set[Rule]) -> np.ndarray:
    """Play a round, publish what `forge` makes of its sum; return the victim's step.

    Raises:
        BadCommitError: the victim does not take it.
    """
    table = Table(registry)
    eve, victim = table.eve, table.cloud(V, unsafe=unsafe)
    clouds = [*(table.cloud(w) for w in (A, B, C)), victim]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    commit, content = forge(*eve.commit(plan, u2, plan.roster))
    commit = replace(commit, aggregate=canonical.digest_of(content))

    genesis, store = table.run.genesis, DataStore(folder)
    store.write(content)
    assert victim.round.stage is not None
    if Rule.RECORD not in unsafe:  # as worker/rounds/following.py does
        victim.round.check_numbers(commit)
        replica = Replica(genesis, store, lambda *_: None, genesis_position(genesis))
        replica.check(commit, bytes.fromhex(victim.round.stage.kappa))
    before = table.run.theta()
    table.run.advance(commit, content)
    return before - table.run.theta()


def as_it_is(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return commit, content


def remade(
    commit: Commit, content: bytes, values: Callable[[np.ndarray], np.ndarray], tags: int
) -> tuple[Commit, bytes]:
    """Change the values, and multiply the data shard's tags."""
    layout = PayloadLayout(Run().schema.length, commit.plan.bits, masked=True)
    data = values(np.frombuffer(content, "<i2", layout.length)).astype("<i2").tobytes()
    rest = content[layout.data_bytes : layout.data_bytes + layout.energy_bytes]
    first, *others = unpack_tags(content[layout.data_bytes + layout.energy_bytes :], layout)
    times = tuple(tag * tags % MODULUS for tag in first)
    return commit, data + rest + pack_tag_sums([times, *others])


def doubled(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return remade(commit, content, lambda q: 2 * q, 2)


def reversed_(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return remade(commit, content, np.negative, -1)


def made_up(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return remade(commit, content, lambda q: np.arange(len(q)) % 500, 0)


def one_value(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return remade(commit, content, lambda q: q + (np.arange(len(q)) == 0) * 10000, 1)


def other_numbers(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    """Twice the tokens in twice the steps: the same weights, but twice the scale."""
    numbers = {
        w: replace(n, tokens=2 * n.tokens, lr_sum=2 * n.lr_sum, steps=2 * n.steps)
        for w, n in commit.numbers.items()
    }
    return replace(commit, numbers=numbers), content


@pytest.mark.parametrize("forge", [doubled, reversed_, made_up, one_value, other_numbers])
def test_rule_14_a_step_that_nobody_sent_is_adopted_without_it_and_refused_with_it(
    registry: Registry, tmp_path: Path, forge: Forge
) -> None:
    honest = step(registry, tmp_path / "honest", as_it_is, set())
    wrong = step(registry, tmp_path / "wrong", forge, {Rule.RECORD})

    assert np.abs(wrong - honest).max() > 0.005 * np.abs(honest).max()
    with pytest.raises(BadCommitError):
        step(registry, tmp_path / "refused", forge, set())


@pytest.mark.parametrize("forge", [doubled, other_numbers])
def test_rule_14_without_it_the_coordinator_scales_the_step_as_it_likes(
    registry: Registry, tmp_path: Path, forge: Forge
) -> None:
    honest = step(registry, tmp_path / "honest", as_it_is, set())
    wrong = step(registry, tmp_path / "wrong", forge, {Rule.RECORD})

    assert float(wrong @ honest / (honest @ honest)) == pytest.approx(2, abs=0.01)


def changed_side_values(**side: int) -> Forge:
    def forge(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
        return replace(commit, side_values=replace(commit.side_values, **side)), content

    return forge


def without_one(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    v = commit.side_values.v * 3 // 4
    side = SideValues(v, commit.side_values.loss_2_20, commit.side_values.clipped)
    return replace(commit, survivors=commit.survivors[1:], side_values=side), content


def faster(commit: Commit, content: bytes) -> tuple[Commit, bytes]:
    return replace(commit, plan=replace(commit.plan, live_speed=1)), content


@pytest.mark.parametrize(
    ("forge", "sentence"),
    [
        (changed_side_values(v=1), "side_values.v is 1, the numbers give"),
        (changed_side_values(clipped=1), "side_values.clipped is 1"),
        (faster, "live_speed is 1"),
    ],
)
def test_rule_14_scalars_that_do_not_follow_are_refused_by_whoever_replays(
    registry: Registry, tmp_path: Path, forge: Forge, sentence: str
) -> None:
    # Here even a worker that looks at no tag refuses: the arithmetic itself does.
    with pytest.raises(BadCommitError, match=sentence):
        step(registry, tmp_path, forge, {Rule.RECORD})


@pytest.mark.parametrize("forge", [changed_side_values(loss_2_20=5), without_one])
def test_rule_14_side_values_and_survivors_are_under_the_tags(
    registry: Registry, tmp_path: Path, forge: Forge
) -> None:
    step(registry, tmp_path / "adopted", forge, {Rule.RECORD})
    with pytest.raises(BadCommitError, match=r"shard \d: the published sum is not what"):
        step(registry, tmp_path / "refused", forge, set())


# The public tags: what an honest coordinator sees of damage below masks


@pytest.mark.parametrize(("shard", "named"), [(0, "shard 0"), (1, "shard 1"), (2, "shard 0")])
def test_a_flipped_bit_in_a_masked_shard_is_named_and_nothing_is_committed(
    table: Table, shard: int, named: str
) -> None:
    eve, clouds = table.eve, [table.cloud(w) for w in (A, B, C, V)]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    intact = eve.sum_of(plan, u2, plan.roster)
    sent = eve.spool[plan.round, B]
    damaged = bytearray(sent[shard])
    damaged[0 if shard == 2 else 30] ^= 4
    sent[shard] = bytes(damaged)

    with pytest.raises(BadUpdateError, match=f"{named}: the sum is not that of its public tags"):
        eve.commit(plan, u2, plan.roster)
    wrong = eve.sum_of(plan, u2, plan.roster)  # what would have been committed without them
    assert np.count_nonzero(wrong - intact) == (shard == 0)
