"""What the evaluator shows on its own page: `crosscloud_evaluator_*`."""

from prometheus_client import Info

from common.documents import Evaluation
from services.observe.metrics.evaluation import EvaluationGauges
from services.observe.metrics.traffic import FLOAT32, NETWORK, set_traffic, traffic_families
from services.observe.prometheus import Registry, Reported
from services.wire.traffic import DIRECTIONS, TrafficCounts


class EvaluatorMetrics:
    """What the evaluator reports."""

    def __init__(self, *, run: str, software: str) -> None:
        self.registry = r = Registry()
        info = Info("crosscloud_evaluator", "The run and this program.", registry=r)
        info.info({"run": run, "version": software})
        self._evaluation = EvaluationGauges("evaluator", r)
        self._measured = r.counter("evaluator_measurements", "Versions measured.")
        self._took = r.seconds("evaluator_measurement_duration", "Measuring one version.")
        self._reported = Reported(r, traffic_families("evaluator"))

    def evaluated(self, evaluation: Evaluation, seconds: float) -> None:
        """A version was measured."""
        self._evaluation.set(evaluation)
        self._measured.inc()
        self._took.observe(seconds)

    def moved(self, tally: TrafficCounts) -> None:
        """So much went to the coordinator and came from it since the process started."""
        for direction in DIRECTIONS:
            for name, read in ((NETWORK, tally.wire), (FLOAT32, tally.float32)):
                set_traffic(self._reported, f"evaluator_{name}", direction, read(direction))
