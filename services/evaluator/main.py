"""The evaluator: follows the log, stands on every version that it can, measures it, reports.

It holds no lock on anything but its own folder: if it is slow it skips versions, if it is gone
nothing waits for it. One thread reads the log, the main thread replays and measures.
"""

import contextlib
import logging
import math
import threading
import time
from pathlib import Path
from typing import Literal

import grpc

from common import canonical
from common.documents import Evaluation, Genesis, Record
from common.errors import ConfigError, CrosscloudError, ToldToEndError
from common.ids import Digest
from common.progress import float32_bytes
from protos.v1 import session_pb2, session_pb2_grpc
from services import __version__
from services.config import state_owner
from services.config.genesis_file import load_genesis
from services.config.places import check_folder
from services.config.settings import EvaluatorSettings, load_evaluator
from services.disk.files import keep_files_private
from services.evaluator.log_reader import LogReader
from services.evaluator.state import EvaluatorState
from services.observe import logs
from services.observe.metrics.evaluator import EvaluatorMetrics
from services.observe.metrics.health import add_health
from services.observe.process_health import process_health
from services.observe.progress import Lines, shown
from services.observe.prometheus import serve
from services.process.descriptors import raise_limit
from services.process.exit_status import Exit, exit_of
from services.trust.identity import Role
from services.trust.signing import Signer, signed_evaluation
from services.versions.downloads import Downloads
from services.versions.export import load_version
from services.versions.first_version import make_first_version
from services.versions.learner import process_learner
from services.versions.replica import Replica
from services.wire.bulk_link import BulkLink
from services.wire.credentials import explain_failed_call, renewed_credentials
from services.wire.renewed_channel import RenewedChannel
from worker.rounds.position import genesis_position
from worker.training.learner import Learner
from worker.training.model import ParameterVector

log = logging.getLogger(__name__)


class Evaluator:
    """See the module docstring.

    Args:
        learner: built with the shared validation shard.
    """

    def __init__(
        self,
        settings: EvaluatorSettings,
        genesis: Genesis,
        learner: Learner,
        metrics: EvaluatorMetrics,
    ) -> None:
        self._closing = threading.Event()
        credentials = renewed_credentials(settings.tls, genesis.run, Role.EVALUATOR, settings.name)
        control, bulk = settings.coordinator.control, settings.coordinator.bulk
        self._control = RenewedChannel(control, credentials)
        self._bulk = BulkLink(RenewedChannel(bulk, credentials), self._closing)
        self._downloads = Downloads(genesis, log.info, time.monotonic)
        self._session = session_pb2_grpc.SessionStub(self._control)
        self._state = EvaluatorState(settings.state_dir)
        self._state.clean()
        self._store = self._state.store
        self._position = self._state.load()
        self._signer = Signer(settings.tls)
        self._genesis = canonical.digest(genesis)
        self._replica = Replica(
            genesis,
            self._store,
            self._fetch,
            self._position or genesis_position(genesis),
        )
        self._float32_bytes = float32_bytes(genesis.schema)
        self._learner = learner
        self._vector = ParameterVector(learner)
        if self._position is None:
            make_first_version(genesis, self._vector, self._store)
        self._metrics = metrics
        self._log = LogReader(
            self._session.WatchLog,
            None if self._position is None else self._position.next_seq,
            closing=self._closing,
            explain=lambda e: explain_failed_call(e, self._control),
            received=lambda num_bytes: self._bulk.tally.message("received", "control", num_bytes),
        )

    def run(self) -> None:
        """Measure versions until the run stops.

        Raises:
            ProtocolError: the coordinator refuses this evaluator, or sent what is no record.
            ToldToEndError: wherever it is: what it holds is whole at any moment.
        """
        self._log.start()
        try:
            self._measure_all()
        finally:
            self._closing.set()
            self._control.close()
            self._bulk.close()
        if self._log.refusal is not None:
            raise self._log.refusal

    def _measure_all(self) -> None:
        stopped = False
        measured = -1
        while not stopped:
            records, is_over = self._log.arrived()
            self._apply(records)
            stopped = any(r.control is not None and r.control.action == "stop" for r in records)
            at = self._replica.position
            newest = stopped or not (self._log.has_more or is_over)
            if newest and not at.behind and at.version != measured:
                measured = at.version
                self._measure()
            if is_over:
                break

    def _fetch(
        self, digest: Digest, kind: Literal["aggregate", "version"], most_bytes: int
    ) -> None:
        self._bulk.fetch(digest, kind, self._store, most_bytes)
        self._downloads.came(digest, kind, self._store)
        content = self._store.size(digest) if kind == "version" else self._float32_bytes
        self._bulk.tally.content("received", kind, content)

    def _apply(self, records: list[Record]) -> None:
        if self._position is None and records:
            self._replica.start_at(records[0])
            self._stand()
        missed = [r for r in records if r.seq >= self._replica.position.next_seq]
        if missed:
            self._replica.follow(missed)
            self._stand()

    def _stand(self) -> None:
        self._position = self._replica.position
        self._state.save(self._position)
        self._metrics.moved(self._bulk.tally)
        self._replica.collect()

    def _measure(self) -> None:
        start_s = time.monotonic()
        at = self._replica.position
        load_version(self._vector, self._replica.version(), self._store)
        found = self._learner.evaluate()
        if not math.isfinite(found.loss):
            log.error("version %d: the validation loss is %s", at.version, found.loss)
            return
        measured = Evaluation(
            genesis=self._genesis,
            version=at.version,
            digest=at.digest,
            loss=found.loss,
            accuracy=found.accuracy,
            perplexity=math.exp(min(found.loss, 700.0)),
            tokens=found.tokens,
            certificate="",
        )
        evaluation = signed_evaluation(self._signer, measured)
        seconds = time.monotonic() - start_s
        self._metrics.evaluated(evaluation, seconds)
        log.info(
            "version %d: loss %.4f nats, accuracy %.1f %%, %.1f s",
            evaluation.version,
            evaluation.loss,
            100 * evaluation.accuracy,
            seconds,
        )
        self._report(evaluation)

    def _report(self, evaluation: Evaluation) -> None:
        request = session_pb2.ReportEvaluationRequest(evaluation=canonical.encode(evaluation))
        self._bulk.tally.message("sent", "control", request.ByteSize())
        try:
            self._session.ReportEvaluation(request, timeout=10.0)
        except grpc.RpcError as e:  # the next version will be reported; this one is in our metrics
            why = explain_failed_call(e, self._control)
            log.warning("version %d is not reported: %s", evaluation.version, why)


def main(config: Path) -> Exit:
    """Run until the run stops; see `crosscloud evaluator --help`."""
    keep_files_private()
    settings = load_evaluator(config)
    genesis = load_genesis(settings.genesis)
    logs.configure(
        settings.log.format,
        settings.log.level,
        run=genesis.run,
        process=f"evaluator {settings.name}",
    )
    raise_limit()
    check_folder("state_dir", settings.state_dir)
    with state_owner.held(state_owner.claim_of(settings, genesis)):
        return _run(settings, genesis)


def _run(settings: EvaluatorSettings, genesis: Genesis) -> Exit:
    metrics = EvaluatorMetrics(run=genesis.run, software=__version__)
    try:
        with shown("building the learner", out=Lines(log.info)):
            learner = process_learner(genesis, settings)
        for remark in learner.remarks():
            log.info("%s", remark)
        evaluator = Evaluator(settings, genesis, learner, metrics)
        add_health(metrics.registry, process_health(settings.tls, settings.state_dir))
        server = serve(metrics.registry, settings.metrics.host, settings.metrics.port)
        with contextlib.closing(server):
            evaluator.run()
    except ConfigError:
        raise
    except CrosscloudError as e:
        log.error("%s", e)
        return exit_of(e)
    except ToldToEndError:
        log.info("told to end")
        raise
    return Exit.OVER
