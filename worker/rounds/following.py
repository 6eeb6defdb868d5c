"""How a worker follows the log: what it holds, whose word it waits for, and its own word.

    Recorded --> held --believed--> followed            which, and how far: `belief.py`, `held.py`
                   '--its own round's commit, right here--> sum and step checked --> its word

A record that no honest log holds stops the worker. A session that breaks takes what is held with
it: the next one may be another coordinator's, with another log.
"""

from common.documents import Genesis, Record
from common.errors import BadCommitError, DivergedError
from common.ids import WorkerId
from common.rounds import Rule
from worker.rounds.belief import Move, Wait
from worker.rounds.held import Held
from worker.rounds.ports import Believed, Check, Note, Send, Steps, Welcomed, WriteStage, ask
from worker.rounds.position import Position
from worker.rounds.round import WorkerRound
from worker.rounds.tier import Tier
from worker.rounds.visited import Visited


class Following:
    """See the module docstring.

    Args:
        position: where the worker stands.
    """

    def __init__(self, name: WorkerId, genesis: Genesis, tier: Tier, position: Position) -> None:
        self._name = name
        self._tier = tier
        self.position = position
        self._held = Held(genesis, tier, position.log)
        self._num_records = 0  # of the log, as Welcome told
        self.snapshot_seq = -1
        self._waits_since_s: float | None = None  # for members' words
        self._looked_at = -1  # record whose sum this worker has tried to check

    def __len__(self) -> int:
        """Return how many records it holds that it has not followed."""
        return len(self._held)

    @property
    def next_seq(self) -> int:
        """First record that was not read."""
        return self._held.next_seq

    @property
    def is_told_all(self) -> bool:
        """Whether it has followed all that the log held as the session began, and all since."""
        return not self._held and self._held.next_seq >= self._num_records

    def resume(self, position: Position) -> None:
        """Go on where a former process stood."""
        self.position = position
        self._held.restart(position.log)

    def welcomed(self, event: Welcomed) -> None:
        """A session begins: what was not followed comes again, and may come otherwise."""
        self._num_records, self.snapshot_seq = event.num_records, event.start.seq
        self._held.restart(self.position.log)
        self._looked_at = -1

    def start(self, record: Record) -> None:
        """Take the record at which a newcomer may begin."""
        self._held.start(record)

    def hold(self, record: Record) -> None:
        """Take the next record.

        Raises:
            ProtocolError, DivergedError: it does not follow, or says what cannot be (rule 14).
        """
        self._held.hold(record)

    def take(self, num: int) -> list[Record]:
        """Return the first ones, one at least: they are held no more."""
        return self._held.take(num)

    def next_move(self, known: Visited, round_: WorkerRound, *, begun: bool) -> Move | None:
        """Return what to do with what is held; None where nothing is, or more is on its way.

        Raises:
            DivergedError: a roll-back among it is no operator's (rule 14).
        """
        if self._held.next_seq < self._num_records or not self._held:
            return None  # of the rest of what it missed, it sees which way is cheaper
        can_verify = self._can_verify(self._held.first, round_)
        return self._held.next(known, begun=begun, can_verify=can_verify)

    def _can_verify(self, record: Record, round_: WorkerRound) -> bool:
        """Return whether this is its own round's commit, right here, and not looked at yet."""
        commit, stage = record.commit, round_.stage
        if commit is None or stage is None or not stage.kappa or self.position.behind:
            return False
        is_own = commit.plan == stage.plan and self._name in commit.survivors
        return is_own and record.seq != self._looked_at

    def verify(self, round_: WorkerRound) -> Steps[None]:
        """Check the first one's sum and step, and give this worker's word for it (rule 14).

        Raises:
            DivergedError: it is not what the members sent, or not what it makes.
        """
        record = self._held.first
        commit, stage, self._looked_at = record.commit, round_.stage, record.seq
        assert commit is not None
        assert stage is not None
        word = self._tier.word(record)
        try:
            if not round_.has_vouched(word):
                round_.check_numbers(commit)
                checked = yield from ask(Check(record, commit, bytes.fromhex(stage.kappa)))
                if checked.gone:
                    return  # it came too late to check the sum: it waits for the others' words
                if checked.complaint:
                    raise _refused(record, checked.complaint)
            round_.vouch(word)
        except BadCommitError as e:
            raise _refused(record, e) from None
        assert round_.stage is not None
        yield WriteStage(round_.stage)
        self._tier.heard(word)
        yield Send(word)

    def wait(self, move: Wait, now_s: float) -> Steps[None]:
        """Nothing of what is held is believed: wait for words; say so once."""
        if self._waits_since_s is None:
            first = self._held.first
            why = self._tier.complaint(first)
            sentence = f"waits for words for version {first.version}" + (why and f"; {why}")
            self._waits_since_s = now_s
            yield Note(sentence, is_warning=bool(why))

    def believed(self, now_s: float) -> Steps[None]:
        """What was waited for is believed now."""
        if self._waits_since_s is not None:
            yield Believed(now_s - self._waits_since_s)
            self._waits_since_s = None


def _refused(record: Record, why: object) -> DivergedError:
    return DivergedError(
        f"version {record.version} is refused by rule {Rule.RECORD}: {why}; ask the operator "
        "to roll back to a version before it"
    )
