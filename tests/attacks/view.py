"""What the coordinator holds of one member's update after a round: python -m tests.attacks.view

It plays the same round in both tiers, keeps everything that reached the coordinator, and tries all
that can be tried with it: in `tls` the update is simply there, in `masked` it is noise.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from common.errors import BadShareError
from common.ids import WorkerId
from common.secagg.keys import self_seed
from common.secagg.masks import member_masks
from common.secagg.ring import Ring
from common.secagg.transcript import context
from common.shards import PayloadLayout
from tests.attacks.harness import A, B, C, Registry, Signed, Table, V, planted, signed
from tests.rig.rounds.small_run import Run
from worker.rounds.tls_tier import TlsAttempt

NAMES = (A, B, C, V)


@dataclass(frozen=True)
class Guess:
    """One way to read the victim's values, and what it gives.

    Args:
        same: how many of the values are right.
        likeness: correlation with the true ones.
        chi_squared: of the low bytes against uniform ones: 255 is expected, 23 its deviation.
    """

    how: str
    num: int
    same: int
    likeness: float
    chi_squared: float

    @classmethod
    def made(cls, how: str, found: Signed, secret: Signed) -> "Guess":
        buckets = np.bincount((found & 0xFF).astype(int), minlength=256)
        expected = len(found) / 256
        return cls(
            how,
            num=len(found),
            same=int((found == secret).sum()),
            likeness=float(np.corrcoef(found, secret)[0, 1]),
            chi_squared=float(((buckets - expected) ** 2 / expected).sum()),
        )

    @property
    def is_chance(self) -> bool:
        """Whether uniform ring values do as well: five deviations are allowed."""
        deviation = (2 * 255) ** 0.5
        return (
            self.same <= 5 + 5 * self.num / 2**16
            and abs(self.likeness) < 5 / self.num**0.5
            and abs(self.chi_squared - 255) < 5 * deviation
        )

    def __str__(self) -> str:
        return (
            f"{self.how:44} {self.same:6} of {self.num} values right, correlation "
            f"{self.likeness:+.4f}, chi-squared {self.chi_squared:.0f}"
        )


def in_tls() -> list[Guess]:
    """Play a round in tls; return what the coordinator reads in its spool."""
    run = Run(replace(Run().algorithm, tier="tls"), workers=NAMES)
    terms, base = run.terms(run.plan()), run.theta()
    update = np.random.default_rng(1).normal(0, 0.01, run.schema.length).astype(np.float32)
    encoded, _ = run.payload(terms, V, base - update)
    layout = PayloadLayout(run.schema.length, run.plan().bits)
    secret = encoded[: layout.data_bytes]
    (found,) = map(bytes, TlsAttempt(V, run.plan()).protect(layout, [secret]))
    weight = round(65535 * terms.weights.wire(V))
    parameters = terms.codec.mean(0, terms.layout.num_blocks, found, weight).reshape(-1)
    likeness = float(np.corrcoef(parameters, update)[0, 1])
    guess = Guess.made("the upload as it lies in the spool", signed(found), signed(secret))
    return [replace(guess, likeness=likeness)]


def in_masked(registry: Registry) -> list[Guess]:
    """Play a round in masked; return all that the coordinator can try."""
    table = Table(registry)
    eve, clouds = table.eve, [table.cloud(w) for w in NAMES]
    plan = eve.plan(*(c.offer() for c in clouds))
    u2 = eve.answers(plan, *clouds)
    eve.collect(plan, u2, *clouds)
    eve.ask(plan, plan.roster, *clouds)
    secret, ring = planted(clouds[-1], plan), Ring(plan.bits)
    uploads = {c.name: signed(eve.spool[plan.round, c.name][0]) for c in clouds}
    total = eve.sum_of(plan, u2, plan.roster)
    context_ = context(plan, u2.answers)

    def bare(name: WorkerId) -> Signed:
        """Take off the own mask, which every round reveals of its survivors."""
        words = ring.words(eve.spool[plan.round, name][0])
        seed = self_seed(eve.put_together(plan, eve.own, name), context_, name).to_bytes()
        member_masks(ring, name, seed, {}).subtract(words, 0)
        return signed(ring.payload(words))

    def guesses() -> Iterator[tuple[str, Signed]]:
        yield "the upload as it lies in the spool", uploads[V]
        yield "the upload without its own mask", bare(V)
        yield "the sum minus the other uploads", total - sum(uploads[w] for w in (A, B, C))
        yield "the sum minus the others without own masks", total - sum(bare(w) for w in (A, B, C))
        for other in (A, B, C):
            yield f"the difference to the upload of {other}", uploads[V] - uploads[other]
        yield "the sum of three, own masks off", bare(V) + bare(A) + bare(B)

    try:
        eve.sum_of(plan, u2, [V])
    except BadShareError:
        pass
    else:
        raise AssertionError("the shares that were revealed lay one update open")
    return [Guess.made(how, wrapped(found), secret) for how, found in guesses()]


def wrapped(values: Signed) -> Signed:
    return values.astype(np.int16).astype(np.int64)


def main() -> None:
    """Print what the coordinator got."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    print("tier tls: the coordinator's best reading of one member's update")
    for guess in in_tls():
        print(f"  {guess}")
    print("tier masked: everything that it can try with all that it holds")
    with tempfile.TemporaryDirectory() as folder:
        for guess in in_masked(Registry.made(Path(folder))):
            print(f"  {guess}: {'chance' if guess.is_chance else 'NOT CHANCE'}")


if __name__ == "__main__":
    main()
