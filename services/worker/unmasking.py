"""A worker's conduct after its upload, in the masked tier: it signs, reveals, or abandons.

    Survivors --> signature, or where S is U2 at once --> shares
    End       --> abandon, unless a share may have been revealed

What it may say is for `worker/rounds/attempt.py` to decide. Here is the order: that a share may
have been revealed is durable before the first one is sent, and after that the round is never
abandoned.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from common.ids import WorkerId
from protos.v1 import session_pb2
from services.worker.convert import abandon_request, shares_request, signature_request
from worker.rounds.attempt import Attempt
from worker.rounds.masked_tier import MaskedTier
from worker.rounds.round import RefusedError, WorkerRound
from worker.rounds.tls_tier import TlsAttempt, TlsTier


@dataclass(frozen=True, slots=True)
class UnmaskingConduct:
    """See the module docstring; all of it is the agent's.

    Args:
        latest: the newest round and its attempt; None after a restart, when its secrets are gone.
        refuse: tell the coordinator.
        write_stage: make the stage durable as it is.
        end_upload: stop a running upload.
    """

    tier: TlsTier | MaskedTier
    latest: Callable[[], tuple[WorkerRound, TlsAttempt | Attempt | None]]
    send: Callable[[session_pb2.ConnectRequest], None]
    refuse: Callable[[RefusedError], None]
    write_stage: Callable[[], Awaitable[None]]
    end_upload: Callable[[], Awaitable[None]]

    async def survived(self, message: session_pb2.Survivors) -> None:
        """S is known: sign it, or reveal what takes the masks off its sum."""
        survivors = tuple(WorkerId(w) for w in message.survivors)
        if (attempt := self._attempt_of(message.round_id)) is None:
            return
        try:
            signature = attempt.survived(survivors)
        except RefusedError as e:
            self.refuse(e)
            return
        if signature is None:
            await self._reveal(attempt, {})
        else:
            self.send(signature_request(message.round_id, signature))

    async def signed(self, message: session_pb2.Signatures) -> None:
        """Enough survivors signed S."""
        if (attempt := self._attempt_of(message.round_id)) is not None:
            signatures = {WorkerId(w): content for w, content in message.signatures.items()}
            await self._reveal(attempt, signatures)

    async def ended(self, message: session_pb2.End) -> None:
        """The round will abort: promise never to reveal a share, unless one may be revealed."""
        round_, attempt = self.latest()
        stage = round_.stage
        if stage is None or stage.plan.round != message.round_id.hex() or stage.revealed:
            return
        if not isinstance(self.tier, MaskedTier):
            return
        await self.end_upload()
        if isinstance(attempt, Attempt):
            signature = attempt.abandon()
        else:  # after a restart
            signature = self.tier.abandon(stage.plan)
        self.send(abandon_request(message.round_id, signature))

    async def _reveal(self, attempt: Attempt, signatures: Mapping[WorkerId, bytes]) -> None:
        """Reveal this worker's shares."""
        try:
            revealed = attempt.reveal(signatures)
        except RefusedError as e:
            self.refuse(e)
            return
        round_, _ = self.latest()
        assert round_.stage is not None
        if not round_.stage.revealed:
            round_.reveal()
            await self.write_stage()
        self.send(shares_request(round_.stage.plan.round, revealed))

    def _attempt_of(self, round_id: bytes) -> Attempt | None:
        """Return the attempt of a round that it is exposed in; none after a restart (rule 10)."""
        round_, attempt = self.latest()
        stage = round_.stage
        if stage is None or not stage.exposed or stage.plan.round != round_id.hex():
            return None
        return attempt if isinstance(attempt, Attempt) else None
