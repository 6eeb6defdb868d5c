"""What a scrape of the coordinator costs, with 64 workers on its page.

    python -m benchmarks.scrape

The coordinator's own registry behind its own HTTP server, filled as heartbeats and rounds fill it;
each scrape goes over a socket, as Prometheus' do. Counted is processor time of this process, which
answers and asks: the share is a little more than the coordinator's.
"""

import argparse
import statistics
import sys
import time
import urllib.request
from typing import Final

from benchmarks.result import write_result
from commands.demo.layout import free_ports
from common.documents import Counters, WorkerCounters
from common.rounds import Phase
from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.coordinator import CoordinatorMetrics
from services.observe.metrics.health import add_health
from services.observe.metrics.heartbeat import BY_KIND
from services.observe.prometheus import serve
from services.wire.traffic import Direction

_INTERVAL_S: Final = 15.0
_WORKERS: Final = (0, 8, 64)
_BULK: Final[tuple[tuple[Direction, str], ...]] = (("sent", "update"), ("received", "download"))
_KINDS: Final = {"control": 1000, "update": 2**30, "aggregate": 2**31, "version": 2**20, "new": 1}


def filled(num_workers: int) -> CoordinatorMetrics:
    """Return metrics of a run with so many workers, every series there."""
    metrics = CoordinatorMetrics(run="scrape", software="0", tier="masked")
    heartbeat = Heartbeat(
        version=7,
        steps_total=1200,
        tokens_total=1_843_200,
        pending_steps=11,
        steps_per_s=4.5,
        idle_share=0.02,
        speed=6912,
        link_bps=8_100_000,
        resident_bytes=400_000_000,
        merges_total=7,
    )
    for field in BY_KIND:
        getattr(heartbeat, field).update(_KINDS)
    names = [f"cloud-{i:02}" for i in range(num_workers)]
    for name in names:
        metrics.worker_listed(name, f"organisation-{name}")
        metrics.worker_heartbeat(name, heartbeat, lag=1, not_after_s=1.8e9)
        for direction, kind in _BULK:
            metrics.bytes_moved(name, direction, kind, 2**40)
            metrics.bytes_moved(name, direction, "control", 2**30)
    for outcome in ("committed", "aborted"):
        metrics.round_ended(outcome, "", 3.5, min(8, num_workers))
    for phase in (*(p.value for p in Phase if not p.is_over), "commit"):
        metrics.phase_took(phase, 0.5)
    metrics.store_answered(2**20, 2**30)
    counters = Counters(workers={name: WorkerCounters(contributions=5) for name in names})
    metrics.recorded(num_records=9, version=7, progress=0.25, counters=counters)
    add_health(metrics.registry, lambda: ())
    return metrics


def measured(num_workers: int, num_scrapes: int) -> dict[str, float]:
    """Return series, bytes, and the median processor time of a scrape."""
    server = serve(filled(num_workers).registry, "127.0.0.1", *free_ports(1))
    url = f"http://127.0.0.1:{server.port}/metrics"
    try:
        page = _scrape(url)
        took_s = []
        for _ in range(num_scrapes):
            began_s = time.process_time()
            _scrape(url)
            took_s.append(time.process_time() - began_s)
    finally:
        server.close()
    series = sum(not line.startswith(b"#") for line in page.splitlines())
    cpu_s = statistics.median(took_s)
    return {
        "series": series,
        "page_bytes": len(page),
        "cpu_ms": round(1000 * cpu_s, 2),
        "cpu_share": round(cpu_s / _INTERVAL_S, 6),
    }


def _scrape(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310 - our own page
        return bytes(answer.read())


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scrapes", type=int, default=200, help="scrapes of each page")
    parser.add_argument("--quick", action="store_true", help="10 scrapes, no file")
    args = parser.parse_args()
    num_scrapes = 10 if args.quick else args.scrapes
    found = {n: measured(n, num_scrapes) for n in _WORKERS}
    lines = ["workers  series  page KiB  CPU ms  share of a core at 15 s"]
    lines += [
        f"{n:7}{f['series']:8.0f}{f['page_bytes'] / 1024:10.1f}{f['cpu_ms']:8.2f}"
        f"{f['cpu_share']:26.4%}"
        for n, f in found.items()
    ]
    if args.quick:
        lines.append("quick: few scrapes; nothing is written")
    result = {**found[_WORKERS[-1]], "workers": _WORKERS[-1], "interval_s": _INTERVAL_S}
    lines.append(f"result {' '.join(f'{k}={v}' for k, v in result.items())}")
    sys.stdout.write("\n".join(lines) + "\n")
    if not args.quick:
        by_workers = {str(n): f for n, f in found.items()}
        write_result("scrape", {**result, "by_workers": by_workers})
    return 0


if __name__ == "__main__":
    sys.exit(main())
