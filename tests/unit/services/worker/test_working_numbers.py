"""What a worker tells of itself in numbers: in its heartbeats, and on its own page."""

from dataclasses import replace

from common.rounds import Rule
from tests.rig.rounds.small_run import NUMBERS
from tests.unit.services.worker.test_working import ME, OTHERS, PROGRESS, Cloud, cloud

__all__ = ["cloud"]  # the fixture


async def test_a_heartbeat_tells_what_the_trainer_says_and_what_is_counted_here(
    cloud: Cloud,
) -> None:
    first = cloud.working.heartbeat()
    told = (first.steps_total, first.tokens_total, first.pending_steps, first.steps_per_s)
    assert told == (PROGRESS.steps, PROGRESS.tokens, NUMBERS.steps, PROGRESS.steps_per_s)
    assert (first.speed, first.resident_bytes) == (PROGRESS.speed, PROGRESS.resident_bytes)
    assert first.idle_share == PROGRESS.idle_s / (PROGRESS.busy_s + PROGRESS.idle_s)
    assert (first.version, first.merges_total) == (1, 0)
    await cloud.expose()
    await cloud.recorded(cloud.committed(ME, *OTHERS))
    second = cloud.working.heartbeat()
    assert (second.version, second.merges_total) == (2, 1)


async def test_a_worker_without_a_trainers_word_tells_of_no_work(cloud: Cloud) -> None:
    cloud.trainer.progress = None
    said = cloud.working.heartbeat()
    assert (said.steps_total, said.speed, said.idle_share, said.resident_bytes) == (0, 0, 0.0, 0)
    assert said.version == 1


async def test_a_refusal_is_counted_by_its_rule(cloud: Cloud) -> None:
    plan = cloud.plan(await cloud.offer())
    await cloud.planned(replace(plan, bits=12))  # no commit may have it
    await cloud.planned(plan)  # its offer is void by now
    read = cloud.working.metrics.registry.get_sample_value
    by_rule = {r: read("crosscloud_local_refusals_total", {"rule": str(int(r))}) for r in Rule}
    assert by_rule == {r: float(r in (Rule.TERMS, Rule.OFFER)) for r in Rule}
    assert read("crosscloud_local_rounds_total", {"fate": "refused"}) == 2
