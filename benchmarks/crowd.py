"""Many workers without a learner in one process, each always ready to contribute again.

    python -m benchmarks.crowd FOLDER SECONDS HEARTBEAT_S NAME...

FOLDER is a federation's (`commit_memory.py`). It ends by itself, and prints one JSON object:
`latencies_ms`, each from sending a heartbeat to the coordinator's answer, and `contributions`.
"""

import json
import secrets
import sys
import threading
import time
from collections import deque
from pathlib import Path

import yaml

from benchmarks.made_up_payload import MadeUpPayload
from common.canonical import decode
from common.documents import Plan, Record
from protos.v1 import session_pb2
from services.genesis_file import load_genesis
from tests.light_worker import LightWorker, credentials


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
                if message.pace.void_offer == self._nonce:
                    self._offer()
            case "plan":
                self._plan = decode(message.plan.plan, Plan)
                self._worker.answer(self._plan)
            case "members":
                assert self._plan is not None
                self._upload(self._plan)
            case "outcome":
                self._recorded(self._worker.records.pop())
            case "rejected":
                raise AssertionError(message.rejected.sentence)

    def _offer(self) -> None:
        self._nonce = secrets.token_hex(16)
        self._worker.offer(*self._at, nonce=self._nonce)

    def _upload(self, plan: Plan) -> None:
        layout = self._worker.layout(plan)
        payload = MadeUpPayload(layout, "dense", len(plan.offers), v=65535)
        self._worker.upload(plan, payload.read_shard)

    def _recorded(self, record: Record) -> None:
        self._at = (record.version, record.digest)
        ended = record.commit.plan.round if record.commit else record.abort and record.abort.round
        if self._plan is not None and ended == self._plan.round:
            self.num_contributions += record.commit is not None
            self._plan = None
            self._offer()


def main() -> int:
    """Run them all."""
    folder, seconds, heartbeat_s, *names = sys.argv[1:]
    genesis = load_genesis(Path(folder) / "genesis" / "genesis.json")
    until_s = time.monotonic() + float(seconds)
    crowd = []
    for name in names:
        where = yaml.safe_load(Path(folder, f"{name}.yaml").read_text())["coordinator"]
        creds = credentials(Path(folder) / "certs", name)
        worker = LightWorker(name, genesis, where["control"], where["bulk"], creds)
        crowd.append(CrowdWorker(worker, until_s, float(heartbeat_s)))
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
