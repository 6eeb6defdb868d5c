"""A worker without a link: it hears what a test tells it, and what it sends lies in a list.

It is `services.worker.working.Working` over a folder; made again over the same one it is what
starts after a kill. Nothing happens to it but what a test says.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from common import canonical
from common.documents import Attestation, Genesis, Offer, Plan, Record
from common.ids import WorkerId
from protos.v1 import session_pb2
from services.observe.metrics.worker import WorkerMetrics
from services.wire.traffic import TrafficCounts
from services.worker.link import Call
from services.worker.trainer import TrainerLink
from services.worker.upload import PushShards
from services.worker.working import Fetch, Working
from worker.rounds.conduct import Conduct
from worker.rounds.participation import Participation
from worker.rounds.ports import Disconnected, Event, Stopped, Ticked
from worker.rounds.round import WorkerRound
from worker.rounds.tier import Tier


def _no_link() -> Call:
    raise AssertionError("this worker has no link")


class LocalWorker:
    """See the module docstring.

    Args:
        trainer: what it trains with; as `services.worker.trainer.TrainerLink`.
    """

    def __init__(
        self,
        name: WorkerId,
        genesis: Genesis,
        folder: Path,
        *,
        tier: Tier,
        fetch: Fetch,
        push: PushShards,
        trainer: Any,
        now_s: Callable[[], float],
        resolve_timeout_s: float,
    ) -> None:
        self.name = name
        self.sent: list[session_pb2.ConnectRequest] = []
        self.num_redials = 0
        self.trainer = trainer
        self.working = working = Working(
            name,
            genesis,
            boot="b1",
            root=folder,
            target="nowhere",
            dial=_no_link,
            tier=tier,
            fetch=fetch,
            push=push,
            metrics=WorkerMetrics(run="small", worker=name, software="test", tells_loss=False),
            tally=TrafficCounts(),
            now_s=now_s,
            resolve_timeout_s=resolve_timeout_s,
        )
        working.link.send = self.sent.append  # type: ignore[assignment]
        working.link.redial = self._redial  # type: ignore[method-assign]
        self.state, self.replica = working.state, working.replica

    def _redial(self) -> None:
        self.num_redials += 1

    @property
    def conduct(self) -> Conduct:
        """Its machine."""
        return self.working.conduct

    @property
    def part(self) -> Participation:
        """Its part in rounds."""
        return self.conduct.part

    @property
    def round(self) -> WorkerRound:
        """Its newest round."""
        return self.part.round

    @property
    def saved(self) -> bool:
        """Whether all is saved, after it was told to end."""
        return self.working.driver.saved.done()

    async def resume(self) -> None:
        """Begin, from the state on disk if there is one."""
        await self.working.begin(cast("TrainerLink", self.trainer))

    async def feed(self, event: Event) -> None:
        """Let something happen; a worker that has not begun yet begins first."""
        if not hasattr(self.working, "driver"):
            await self.resume()
        await self.working.driver.feed(event)

    async def hear(self, **message: Any) -> None:
        """The coordinator says something: `plan=session_pb2.Plan(...)`."""
        event = self.working.inbox.event(session_pb2.ConnectResponse(**message))
        if event is not None:
            await self.feed(event)

    async def consider_offering(self) -> None:
        """Offer, if there is work enough."""
        await self.working.driver.offer()

    async def uploaded(self) -> None:
        """Return once the upload that is under way has ended."""
        upload = self.working.driver.uploading
        assert upload is not None, "nothing is uploaded"
        heard = asyncio.create_task(self.working.inbox.next())
        await asyncio.wait((heard, upload), return_when=asyncio.FIRST_COMPLETED)
        if heard.done() and (event := heard.result()) is not None:
            await self.feed(event)
        heard.cancel()
        await asyncio.wait((upload,))

    # What a coordinator and time do, by name ------------------------------------------------------

    async def welcomed(self, start: Record, num_records: int) -> None:
        """A session is open."""
        content = canonical.encode(start)
        await self.hear(welcome=session_pb2.Welcome(start_record=content, num_records=num_records))

    async def planned(self, plan: Plan) -> None:
        """A cohort was closed."""
        await self.hear(plan=session_pb2.Plan(plan=canonical.encode(plan)))

    async def named(self, members: session_pb2.Members) -> None:
        """U2 is known; return once its upload has ended, if one begins."""
        await self.hear(members=members)

    async def recorded(self, record: Record) -> None:
        """The next record of the log."""
        await self.hear(outcome=session_pb2.Outcome(record=canonical.encode(record)))

    async def attested(self, word: Attestation) -> None:
        """A member's word is relayed."""
        await self.hear(attested=session_pb2.Attest(attestation=canonical.encode(word)))

    async def paced(self, local_steps: int, *, paused: bool = False, void_offer: str = "") -> None:
        """A heartbeat is answered."""
        pace = session_pb2.Pace(local_steps=local_steps, paused=paused, void_offer=void_offer)
        await self.hear(pace=pace)

    async def ended(self, round_id: str) -> None:
        """The round will abort."""
        await self.hear(end=session_pb2.End(round_id=bytes.fromhex(round_id)))

    async def disconnected(self) -> None:
        """The stream broke."""
        await self.feed(Disconnected())

    async def ticked(self) -> None:
        """Time has passed."""
        await self.feed(Ticked())

    async def stopped(self) -> None:
        """The process is to end."""
        await self.feed(Stopped())

    def offers(self) -> list[Offer]:
        """What it has offered so far."""
        found = (m.offer for m in self.sent if m.WhichOneof("message") == "offer")
        return [canonical.decode(m.offer, Offer) for m in found]
