"""Bonawitz et al. 2017 (CCS), figure 4, step by step: one user drops out in each of its rounds.

    the figure                   its set   here
    0  AdvertiseKeys             U1        signed offers with two keys; the plan is the list of them
    1  ShareKeys                 U2        answers, and shares sealed for each other member
    2  MaskedInputCollection     U3        uploads; U3 is S
    3  ConsistencyCheck          U4        signatures over S
    4  Unmasking                 U5        shares of b_u for U3, of the mask key for U2 without U3

The figure signs and checks U3 in every round; here only where it is not all of U2. That is the one
step that differs, and masked_round.txt in run/ plays it.
"""

from collections.abc import Iterable

import numpy as np

from common.ids import WorkerId
from common.packing import unpack
from common.shards import ShardBytes
from common.terms import Terms
from coordinator.ports import Signatures
from coordinator.unmask import Unmasking, check_answer
from tests.rig.rounds.masked_members import MASKED, Cloud
from tests.rig.rounds.masked_round import plan_of, unmasked
from tests.rig.rounds.small_run import NUMBERS, Run, random_vector

USERS = tuple(WorkerId(f"u{i:02}") for i in range(11))
GONE = tuple(USERS[i] for i in (10, 3, 7, 0, 5))
"""Who drops out, by round."""


def without(users: Iterable[WorkerId], gone: WorkerId) -> tuple[WorkerId, ...]:
    return tuple(u for u in users if u != gone)


def inputs(run: Run, terms: Terms, user: WorkerId) -> list[ShardBytes]:
    """Return x_u, as shards in the open."""
    seed = USERS.index(user)
    theta = run.theta() - random_vector(run.schema, seed, 0.01)
    return run.encoded(terms, user, theta, bytes([seed] * 16))[0]


def test_figure_4_with_one_dropout_in_each_round_gives_the_sum_of_u3() -> None:
    # Round 0, AdvertiseKeys: U1 is who sent its keys in time. t of 10 is 6.
    u1 = without(USERS, GONE[0])
    run = Run(MASKED, workers=u1, speeds=(1,) * len(u1))
    users = {u: Cloud(u) for u in u1}
    plan = plan_of(run, users)
    assert (plan.roster, plan.threshold) == (u1, 6)

    # Round 1, ShareKeys: each checks the signed keys, and seals shares of b_u and its mask key.
    attempts = {u: users[u].attempt(plan) for u in u1}
    u2 = without(u1, GONE[1])
    told = {u: attempts[u].answer(NUMBERS) for u in u2}
    for u, (answer, sealed) in told.items():
        check_answer(plan, u, answer, sealed)
    answers = {u: answer for u, (answer, _) in told.items()}

    # Round 2, MaskedInputCollection: y_u = x_u + PRG(b_u) + PRG(s_uv) - ... over U2.
    terms = run.terms(plan, dict.fromkeys(u2, NUMBERS))
    x, y = dict[WorkerId, list[bytes]](), dict[WorkerId, list[bytes]]()
    for u in u2:
        attempts[u].named(answers, {v: told[v][1][u] for v in without(u2, u)})
        shards = inputs(run, terms, u)
        x[u] = [bytes(shard) for shard in shards]  # masking overwrites them
        y[u] = [bytes(shard) for shard in attempts[u].protect(terms.layout, shards)]
    u3 = without(u2, GONE[2])
    tagged = {u: y[u][: len(x[u])] for u in u3}  # the tags come last
    assert all(a != b for u in u3 for a, b in zip(tagged[u], x[u], strict=True))

    # Round 3, ConsistencyCheck: each signs U3; whoever is gone now stays in the sum.
    unmasking = Unmasking(plan, answers, u3)
    u4 = without(u3, GONE[3])
    signed = {u: signature for u in u4 if (signature := attempts[u].survived(u3))}
    (enough,) = (m for u, s in signed.items() if (m := unmasking.sign(u, s)))
    assert isinstance(enough, Signatures)
    assert len(enough.signatures) == plan.threshold <= len(u4)

    # Round 4, Unmasking: of each user of U2 one kind of share. t users are enough, and no fewer.
    u5 = without(u4, GONE[4])
    assert len(u5) == plan.threshold
    for u in u5:
        assert unmasking.secrets() is None
        shares = attempts[u].reveal(enough.signatures)
        assert (tuple(shares.own), tuple(shares.mask)) == (u3, (GONE[2],))
        unmasking.reveal(u, shares.own, shares.mask)
    secrets = unmasking.secrets()
    assert secrets is not None
    _, content = unmasked(terms, plan, secrets, {u: y[u] for u in u3})

    def values(data: bytes) -> np.ndarray:
        return unpack(data[: terms.layout.data_bytes], plan.bits).astype(np.int64)

    assert np.array_equal(values(content), sum(values(b"".join(x[u])) for u in u3))
