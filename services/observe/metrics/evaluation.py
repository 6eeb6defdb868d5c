"""Gauges of the newest evaluation, on the evaluator's page and on the coordinator's."""

from common.documents import Evaluation
from services.observe.prometheus import Registry


class EvaluationGauges:
    """See the module docstring.

    Args:
        owner: what their names begin with.
    """

    def __init__(self, owner: str, r: Registry) -> None:
        self._version = r.gauge(f"{owner}_version", "Newest version that was measured.")
        self._loss = r.gauge(f"{owner}_loss_nats", "Its loss per token on the validation shard.")
        self._perplexity = r.gauge(f"{owner}_perplexity", "Its perplexity.")
        self._accuracy = r.gauge(f"{owner}_accuracy_ratio", "Share of next tokens it gets right.")

    def set(self, evaluation: Evaluation) -> None:
        """A version was measured."""
        self._version.set(evaluation.version)
        self._loss.set(evaluation.loss)
        self._perplexity.set(evaluation.perplexity)
        self._accuracy.set(evaluation.accuracy)
