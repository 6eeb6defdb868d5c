"""Many workers without a learner in one process, each always ready to contribute again.

    python -m benchmarks.crowd FOLDER SECONDS HEARTBEAT_S NAME...

FOLDER is a federation's (`commit_memory.py`), of either tier. It ends by itself, and prints one
JSON object: `latencies_ms`, each from sending a heartbeat to the coordinator's answer, and
`contributions`.
"""

import argparse
import json
import secrets
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from benchmarks.made_up_payload import MadeUpPayload
from common.canonical import decode
from common.documents import Plan, Record
from protos.v1 import session_pb2
from services.config.genesis_file import load_genesis
from tests.rig.workers.light_worker import LightWorker, credentials
from tests.rig.workers.masked_light_worker import MaskedLightWorker


class CrowdWorker(threading.Thread):
    """One of them.

    Args:
        worker: not yet joined.
        until_s: when to leave, `time.monotonic`.
        heartbeat_s: between two heartbeats.
    """

    def __init__(self, worker: LightWorker, until_s: float, heartbeat_s: float) -> None:
        super().__init__(name=worker.name)
        self._worker = worker
        self._until_s = until_s
        self._heartbeat_s = heartbeat_s
        self._at = (0, worker.genesis.version0)
        self._nonce = ""
        self._plan: Plan | None = None
        self._sent_s: deque[float] = deque()
        self.latencies_ms: list[float] = []
        self.num_contributions = 0
        self.failed: Exception | None = None

    @override
    def run(self) -> None:
        """Join, and take part until the time is over."""
        try:
            with self._worker:
                self._take_part()
        except Exception as e:  # whatever it is, the soak did not have this worker
            self.failed = e

    def _take_part(self) -> None:
        self._worker.join()
        self._offer()
        beat_s = time.monotonic()
        while (now_s := time.monotonic()) < self._until_s:
            if now_s >= beat_s:
                self._sent_s.append(now_s)
                self._worker.send(heartbeat=session_pb2.Heartbeat(offer_nonce=self._nonce))
                beat_s = now_s + self._heartbeat_s
            message, at_s = self._worker.next_message(beat_s - now_s)
            if message is not None:
                self._handle(message, at_s)

    def _handle(self, message: session_pb2.ConnectResponse, at_s: float) -> None:
        match message.WhichOneof("message"):
            case "pace":
                self.latencies_ms.append(1000 * (at_s - self._sent_s.popleft()))
                if self._nonce and message.pace.void_offer == self._nonce:
                    self._offer()
            case "plan":
                self._plan = decode(message.plan.plan, Plan)
                self._nonce = ""
                self.planned(self._plan)
            case "members":
                assert self._plan is not None
                self.named(self._plan, message.members)
            case "outcome":
                self._recorded(self._worker.records.pop())
            case "rejected":
                raise AssertionError(message.rejected.sentence)
            case kind:
                assert self._plan is not None
                self.unmasked(self._plan, kind, message)

    def _offer(self) -> None:
        self._nonce = secrets.token_hex(16)
        self._worker.offer(*self._at, nonce=self._nonce)

    def _recorded(self, record: Record) -> None:
        self._at = (record.version, record.digest)
        ended = record.commit.plan.round if record.commit else record.abort and record.abort.round
        if self._plan is not None and ended == self._plan.round:
            self.num_contributions += record.commit is not None
            self._plan = None
            self.settled(record)
            self._offer()

    # What the tiers do differently

    def planned(self, plan: Plan) -> None:
        """A cohort was closed with this worker in it."""
        self._worker.answer(plan)

    def named(self, plan: Plan, members: session_pb2.Members) -> None:
        """U2 is known."""
        layout = self._worker.layout(plan)
        payload = MadeUpPayload(layout, "dense", len(plan.offers), v=65535)
        self._worker.upload(plan, payload.read_shard)

    def unmasked(self, plan: Plan, kind: Any, message: session_pb2.ConnectResponse) -> None:
        """A message of the masked tier came."""
        raise AssertionError(f"{kind} in tier tls")

    def settled(self, record: Record) -> None:
        """The round that this worker was in is over."""


class MaskedCrowdWorker(CrowdWorker):
    """One of them in the masked tier."""

    def __init__(self, worker: MaskedLightWorker, until_s: float, heartbeat_s: float) -> None:
        super().__init__(worker, until_s, heartbeat_s)
        self._masked = worker

    @override
    def planned(self, plan: Plan) -> None:
        """See `CrowdWorker`."""
        self._masked.accept(plan)
        super().planned(plan)

    @override
    def named(self, plan: Plan, members: session_pb2.Members) -> None:
        """See `CrowdWorker`."""
        self._masked.learn_members(plan, members)
        self._masked.upload_made_up(plan)

    @override
    def unmasked(self, plan: Plan, kind: Any, message: session_pb2.ConnectResponse) -> None:
        """See `CrowdWorker`."""
        if kind == "survivors" and not self._masked.sign(message.survivors):
            self._masked.tell_shares(plan, session_pb2.Signatures())
        elif kind == "signatures":
            self._masked.tell_shares(plan, message.signatures)

    @override
    def settled(self, record: Record) -> None:
        """See `CrowdWorker`."""
        self._masked.resolve(record)
        self._masked.values.clear()


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a federation's")
    parser.add_argument("seconds", type=float, help="how long they contribute")
    parser.add_argument("heartbeat_s", type=float, help="from one heartbeat to the next")
    parser.add_argument("names", nargs="+", help="of the workers")
    args = parser.parse_args()
    folder: Path = args.folder
    genesis, certs = load_genesis(folder / "genesis" / "genesis.json"), folder / "certs"
    until_s, beat_s = time.monotonic() + args.seconds, args.heartbeat_s
    crowd: list[CrowdWorker] = []
    for name in args.names:
        where = yaml.safe_load((folder / f"{name}.yaml").read_text())["coordinator"]
        known = name, genesis, where["control"], where["bulk"], credentials(certs, name)
        if genesis.algorithm.masked:
            masked = MaskedLightWorker(*known, certs=certs)
            crowd.append(MaskedCrowdWorker(masked, until_s, beat_s))
        else:
            crowd.append(CrowdWorker(LightWorker(*known), until_s, beat_s))
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    found = {
        "latencies_ms": [ms for each in crowd for ms in each.latencies_ms],
        "contributions": sum(each.num_contributions for each in crowd),
        "failed": [f"{each.name}: {each.failed!r}" for each in crowd if each.failed],
    }
    sys.stdout.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
