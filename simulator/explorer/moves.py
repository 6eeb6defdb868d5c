"""What a coordinator that does anything can do next to one worker, with what it has been given.

It has seen all that any worker ever sent, holds the keys of members that it invents, keeps every
file, and may tell each worker something else. What it cannot do is sign for a worker, or know a
secret that no share and no message gave it. The lies:

    plan       of the tls tier, too low a threshold, too few, invented members, one whose keys are
               none, used offers of its own or of others, another base, another plan under the id of
               the open one
    members    without one, with another's numbers changed, with one's own changed, a share
               withheld; before what was encoded is done
    survivors  any part of U2, too few of them; with signatures or without
    records    a sum that nobody sent, other numbers, an abort that nothing proves, a roll-back that
               nobody ordered, a version whose files are withheld
    else       a word of another version said again, End at any time, a stream that breaks, records
               kept back, silence, a pace for each; an operator ends the worker
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Final

from common.documents import Control, Record
from common.log_head import LogHead
from simulator.explorer.given import Given, Move
from simulator.explorer.knowledge import Sum
from simulator.explorer.plans import plans
from simulator.explorer.records import records
from simulator.explorer.round_moves import in_a_round
from simulator.explorer.seat import Seat
from simulator.explorer.world import GENESIS, STEPS, record_after
from worker.rounds.ports import Attested, Disconnected, Encoded, Paced, Stopped, Ticked, Welcomed

_SILENCE_S: Final = 1e7


def moves(seat: Seat, given: Given, sums: Sequence[Sum]) -> Iterator[Move]:
    """Yield what can be done to a worker.

    Args:
        sums: what it can compute.
    """
    if seat.ended:
        return
    if not seat.conduct.connected:
        yield _welcome(seat)
        return
    yield from plans(seat, given)
    yield from in_a_round(seat, given)
    yield from records(seat, given, sums)
    heard = [w for w in given.words if w.worker != seat.name]
    if heard and seat.holds:
        yield Move("words", tuple(map(Attested, heard)))
    if not seat.frozen and seat.pending and seat.steps == STEPS:
        yield Move("trains on", trains=True, lie="unequal pace")
    offer, at = seat.conduct.part.round.offer, seat.conduct.position
    if offer is not None and offer.version != at.version:
        yield Move("void offer", (Paced(STEPS, False, offer.nonce),))
    if seat.frozen:
        yield Move("silence", (Ticked(),), silence_s=_SILENCE_S, lie="silence")
    least = GENESIS.algorithm.min_local_steps
    yield Move("pause", (Paced(least, True, ""),), lie="unequal pace")
    broken = _welcome(seat)
    yield Move("break, welcome", (Disconnected(), *broken.events), lie="broken stream")
    more = Welcomed(first_record(), seat.conduct.position.next_seq + 1)
    yield Move("break, welcome to more", (Disconnected(), more), lie="records kept back")
    if seat.encoding is not None:
        yield Move("encoded", (Encoded(seat.encoding.plan.round),))
    if not seat.conduct.part.finishing:
        yield Move("told to end", (Stopped(),), lie="told to end")


def _welcome(seat: Seat) -> Move:
    """A session in which it is shown what it has followed already."""
    at = seat.conduct.position if seat.conduct.begun else None
    num = 1 if at is None else at.next_seq
    return Move("welcome", (Welcomed(first_record(), num),))


@functools.cache
def first_record() -> Record:
    """Return record 0 of every log."""
    return record_after(LogHead.of(GENESIS), control=Control("resume", "eve", ""))
