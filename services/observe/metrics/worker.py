"""What a worker's link process shows on its own page: `crosscloud_local_*`."""

from typing import Literal

from prometheus_client import Info

from common.rounds import Rule
from protos.v1.session_pb2 import Heartbeat
from services.observe.metrics.heartbeat import heartbeat_families, set_heartbeat
from services.observe.prometheus import Registry, Reported

WorkerPhase = Literal["close", "encode", "upload", "words", "merge"]
"""A part of a round that a worker times."""


class WorkerMetrics:
    """What the link process reports. The training loss stands here and nowhere else.

    Args:
        tells_loss: whether it does: only in the tls tier, whose coordinator sees it anyhow. The
            page is read by whoever reaches its port, and masks hide each worker's loss.
    """

    def __init__(self, *, run: str, worker: str, software: str, tells_loss: bool) -> None:
        self.registry = r = Registry()
        info = Info("crosscloud_local", "The worker, its run, this program.", registry=r)
        info.info({"run": run, "worker": worker, "version": software})
        self._reported = Reported(r, heartbeat_families("local"))
        self._loss = None
        if tells_loss:
            self._loss = r.gauge(
                "local_training_loss_nats", "Mean loss of the last steps; in tier tls only."
            )
        self._connected = r.gauge("local_connected", "1 while the control stream is open.")
        self._connections = r.counter("local_connections", "Control streams opened.")
        self._rounds = r.counter("local_rounds", "What became of the work in each round.", "fate")
        self._refusals = r.counter("local_refusals", "Rounds that it refused, by rule.", "rule")
        for rule in Rule:  # from the start, so that the first of each is an increase
            self._refusals.labels(int(rule))
        self._took = r.seconds("local_phase_duration", "Parts of a round, on this worker.", "phase")

    def reported(self, heartbeat: Heartbeat, loss_nats: float) -> None:
        """The trainer made progress."""
        set_heartbeat(self._reported, "local", heartbeat)
        if self._loss is not None:
            self._loss.set(loss_nats)

    def connected(self, is_open: bool) -> None:
        """The control stream opened or broke."""
        self._connected.set(int(is_open))
        self._connections.inc(int(is_open))

    def round_ended(self, fate: str) -> None:
        """Frozen work became "contributed", "spent" or "free", or the plan was "refused"."""
        self._rounds.labels(fate).inc()

    def refused(self, rule: Rule) -> None:
        """This worker will not take part in a round, or reveals nothing."""
        self._refusals.labels(int(rule)).inc()

    def took(self, phase: WorkerPhase, seconds: float) -> None:
        """One part of a round took this long."""
        self._took.labels(phase).observe(seconds)
