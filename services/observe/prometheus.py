"""What `metrics/` is made of: a registry per process, set counters, and the endpoint.

Prometheus' own counters only count up from zero. `Reported` exports numbers that another process
or the log counted: they are set, and a restart of their owner resets them as it resets any counter;
or they are read at the scrape itself.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    make_wsgi_app,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from common.foreign import boundary
from common.text import printable
from services.observe.metrics_server import BoundedServer

PREFIX: Final = "crosscloud_"
_SECONDS: Final = (
    0.005,
    0.02,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
    300.0,
    1800.0,
)


class Registry(CollectorRegistry):
    """The metrics of one process, its health included; every name starts with `crosscloud_`."""

    def __init__(self) -> None:
        super().__init__()
        disable_created_metrics()  # type: ignore[no-untyped-call]  # series that nobody reads
        ProcessCollector(registry=self)

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        """Declare `crosscloud_<name>_total`."""
        return Counter(PREFIX + name, text, labels, registry=self)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        """Declare `crosscloud_<name>`."""
        return Gauge(PREFIX + name, text, labels, registry=self)

    def seconds(self, name: str, text: str, *labels: str) -> Histogram:
        """Declare a histogram of durations, `crosscloud_<name>_seconds`, up to half an hour."""
        full_name = f"{PREFIX}{name}_seconds"
        return Histogram(full_name, text, labels, buckets=_SECONDS, registry=self)

    def histogram(self, name: str, text: str, buckets: Iterable[float]) -> Histogram:
        """Declare a histogram of anything else."""
        return Histogram(PREFIX + name, text, buckets=tuple(buckets), registry=self)


@dataclass(frozen=True, slots=True)
class Family:
    """One metric that is set: a counter where the name ends in `_total`, else a gauge."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def empty(self) -> CounterMetricFamily | GaugeMetricFamily:
        """Return the family without series."""
        kind = CounterMetricFamily if self.name.endswith("_total") else GaugeMetricFamily
        return kind(PREFIX + self.name, self.text, labels=self.labels)


class Reported(Collector):
    """Series whose absolute values come from elsewhere.

    Args:
        read: yields what is read at each scrape, in the scrape's thread: name without the prefix,
            value, labels.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        families: Iterable[Family],
        read: Callable[[], Iterable[tuple[str, float, tuple[str, ...]]]] = tuple,
    ) -> None:
        self._families = {f.name: f for f in families}
        self._read = read
        self._values: dict[str, dict[tuple[str, ...], float]] = {n: {} for n in self._families}
        self._lock = threading.Lock()  # scrapes come from the server's threads
        registry.register(self)

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set one series, named without the prefix. An undeclared name is a bug of ours."""
        assert len(labels) == len(self._families[name].labels), name
        with self._lock:
            self._values[name][tuple(map(printable, labels))] = value

    def forget(self, worker: str) -> None:
        """Drop every series of `worker`."""
        with self._lock:
            for name, family in self._families.items():
                if family.labels[:1] == ("worker",):
                    series = self._values[name]
                    self._values[name] = {k: v for k, v in series.items() if k[0] != worker}

    @override
    def collect(self) -> Iterator[Metric]:
        found = {name: family.empty() for name, family in self._families.items()}
        with self._lock:
            told = [(n, v, at) for n, by in self._values.items() for at, v in sorted(by.items())]
        for name, value, labels in (*told, *self._read()):
            found[name].add_metric(labels, value)
        yield from found.values()

    def describe(self) -> Iterator[Metric]:
        """Name the families, so that the registry refuses a second owner of one."""
        return (f.empty() for f in self._families.values())


@dataclass(frozen=True, slots=True)
class MetricsServer:
    """A running `/metrics` endpoint. `port` is 0 where none is served."""

    port: int
    _server: BoundedServer | None

    def close(self) -> None:
        """Stop serving and free the port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()


def serve(registry: CollectorRegistry, host: str, port: int) -> MetricsServer:
    """Serve `registry` over HTTP on a thread of its own; port 0 serves nothing.

    Raises:
        ConfigError: nothing can listen there.
    """
    if not port:
        return MetricsServer(0, None)
    fix = "end what listens there, or give metrics.port or metrics.host another value"
    with boundary("metrics.port", f"cannot listen on {host}, port {port}", fix):
        server = BoundedServer(host.strip("[]"), port, make_wsgi_app(registry))
    threading.Thread(target=server.serve_forever, daemon=True, name="metrics").start()
    return MetricsServer(port, server)
