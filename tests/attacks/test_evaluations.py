"""Nobody but an evaluator says how good a version is: not the coordinator, not a worker.

Who makes evaluations up ends a run by `stop.loss` when it likes, and chooses to which version an
operator returns. With the check off, each forgery does so.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commands import operator
from commands.verify.main import main
from common import canonical
from common.documents import Control, Evaluation, RollbackOrder, Stop
from common.errors import BadSignatureError, UnknownFileError
from common.ids import Digest, WorkerId
from common.secagg.labels import SignedPurpose
from common.secagg.transcript import signed_content
from coordinator.head import RunHead
from coordinator.ledger import Ledger
from coordinator.lifecycle import Lifecycle
from services.coordinator.sessions.listed import listed_evaluators
from services.disk.data_store import DataStore
from services.trust.authority import authority_in, issue
from services.trust.genuine import Genuine
from services.trust.identity import Identity, MemberList, Role
from services.wire.operator_link import RunStatus
from tests.attacks.harness import (
    EVALUATOR,
    OPERATOR,
    RUN,
    A,
    Certified,
    Registry,
    certified,
    now,
)
from tests.rig.rounds.masked_members import MASKED
from tests.rig.rounds.small_chain import Coordinator
from tests.rig.rounds.small_run import Run
from tests.unit.commands.test_operator import status

GENESIS = Run(MASKED).genesis
ID = canonical.digest(GENESIS)
OTHER = Digest("f" * 64)


def signed(who: Certified, purpose: SignedPurpose = "evaluation", **changes: Any) -> Evaluation:
    found = Evaluation(ID, 0, GENESIS.version0, 2.0, 0.3, 7.4, 4096, who.certificate)
    unsigned = replace(found, **changes)
    return replace(unsigned, signature=who.sign(purpose, signed_content(unsigned)).hex())


def invented(registry: Registry, run: str) -> Certified:
    """Return an evaluator of another run, under the same CA."""
    authority = authority_in(registry.folder, RUN, now())
    assert authority is not None
    identity = Identity(run, Role.EVALUATOR, "eva-inc", EVALUATOR)
    return certified(WorkerId(EVALUATOR), *issue(authority, identity, (), now(), now()))


def forgeries(registry: Registry) -> Iterator[tuple[Evaluation, str]]:
    eva = registry.of(WorkerId(EVALUATOR))
    true = signed(eva)
    yield replace(true, signature=None), "no evaluator has signed the evaluation of version 0"
    yield replace(true, signature=""), "no evaluator has signed"
    yield replace(true, loss=1.0), "is not as eva has signed it"
    yield replace(true, digest=OTHER), "is not as eva has signed it"
    yield signed(eva, "offer"), "is not as eva has signed it"
    yield replace(true, certificate=""), "is no evaluator's: "
    yield replace(signed(registry.of(A)), certificate=eva.certificate), "is not as eva has"
    for name in (A, WorkerId(OPERATOR)):
        yield signed(registry.of(name)), "is no evaluator's: "
    yield signed(invented(registry, "another")), "is no evaluator's: "
    yield signed(eva, genesis=OTHER), "is of another run, of genesis ffffffffffffffff..."


def lifecycle_of(registry: Registry) -> Lifecycle:
    genuine, listed = (
        Genuine(registry.folder / "ca.pem", now),
        MemberList(registry.folder / "members.yaml", RUN),
    )
    ledger = Ledger(GENESIS, RunHead.of(GENESIS), 0.0)
    return Lifecycle(Stop(loss=2.5), ledger, ID, listed_evaluators(genuine, listed))


def off(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    for module in modules:
        monkeypatch.setattr(f"{module}.evaluation_complaint", lambda *_: "")


def test_a_forged_evaluation_ends_no_run(registry: Registry) -> None:
    for forged, sentence in forgeries(registry):
        lifecycle = lifecycle_of(registry)
        with pytest.raises(BadSignatureError) as refusal:
            lifecycle.evaluate(forged, 0.0)
        assert sentence in str(refusal.value)
        assert lifecycle.due(0.0) is None
    lifecycle = lifecycle_of(registry)
    lifecycle.evaluate(signed(registry.of(WorkerId(EVALUATOR))), 0.0)
    assert lifecycle.due(0.0) == Control("stop", "limit", "validation loss 2.0000 is at most 2.5")


def test_with_the_check_off_it_does(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    off(monkeypatch, "coordinator.lifecycle")
    for forged, _ in forgeries(registry):
        if forged.digest != OTHER:
            lifecycle = lifecycle_of(registry)
            lifecycle.evaluate(forged, 0.0)
            assert lifecycle.due(0.0) is not None


# A roll-back -----------------------------------------------------------------------------------


class Link:
    """An operator's link to a coordinator that shows an evaluation, at version 12 of a log."""

    def __init__(self, shown: Evaluation) -> None:
        self.shown, self.asked = shown, list[int]()
        self.kept = {0: GENESIS.version0, 7: Digest("7" * 64)}

    def status(self) -> RunStatus:
        return status(self.shown)

    def digest_of(self, version: int) -> Digest:
        if version not in self.kept:
            raise UnknownFileError(f"version {version} is not kept")
        return self.kept[version]

    def rollback(self, version: int, *, shown: Callable[[RollbackOrder], None]) -> None:
        shown(RollbackOrder(ID, version, self.digest_of(version), 13, ""))
        self.asked.append(version)


@pytest.fixture
def ordered(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[Evaluation], list[int]]:
    """Return what orders a roll-back where this is shown, and returns what was asked for."""
    folder, config = registry.folder, tmp_path / "operator.yaml"
    tls = {"ca": "ca.pem", "certificate": f"{OPERATOR}.pem", "key": f"{OPERATOR}.key"}
    files = {name: str(folder / file) for name, file in tls.items()}
    config.write_text(json.dumps({"run": RUN, "coordinator": "h:1", "tls": files}))

    def order(shown: Evaluation) -> list[int]:
        link = Link(shown)
        monkeypatch.setattr(operator, "_link", lambda _: nullcontext(link))
        with suppress(BadSignatureError):
            operator.rollback(config, 0)
        return link.asked

    return order


def test_a_roll_back_is_not_ordered_by_a_forged_evaluation(
    registry: Registry, ordered: Callable[[Evaluation], list[int]]
) -> None:
    assert ordered(signed(registry.of(WorkerId(EVALUATOR)))) == [0]
    for forged, _ in forgeries(registry):
        assert ordered(forged) == []


@pytest.mark.parametrize(
    ("version", "digest", "is_ordered"),
    [
        (0, OTHER, False),  # the one that is to return
        (7, OTHER, False),  # another that is kept
        (7, Digest("7" * 64), True),
        (9, OTHER, True),  # one that is not: nobody can tell any more
        (13, OTHER, False),  # one to come
        (-1, OTHER, False),
        (10**6, OTHER, False),
    ],
)
def test_nor_by_one_of_a_version_that_is_not_in_the_log(
    registry: Registry,
    ordered: Callable[[Evaluation], list[int]],
    version: int,
    digest: Digest,
    is_ordered: bool,
) -> None:
    found = signed(registry.of(WorkerId(EVALUATOR)), version=version, digest=digest)
    assert ordered(found) == [0] * is_ordered


def test_with_the_check_off_it_is(
    registry: Registry,
    ordered: Callable[[Evaluation], list[int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off(monkeypatch, "commands.operator")
    assert all(ordered(f) == [0] for f, _ in forgeries(registry) if f.digest != OTHER)


# Afterwards ------------------------------------------------------------------------------------


@pytest.fixture
def verified(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    """Return what `verify` says of a log of one record, an evaluation of version 0."""

    def verify(found: Evaluation, evaluators: Path | None = None) -> dict[str, Any]:
        chain = Coordinator(Run(MASKED))
        chain.append(evaluation=found)
        store = DataStore(tmp_path / "data")
        for content in chain.run.blobs.files.values():
            store.write(content)
        (tmp_path / "log").mkdir(exist_ok=True)
        (record,) = chain.records
        (tmp_path / "log" / f"{0:012d}.json").write_bytes(canonical.encode(record))
        (tmp_path / "genesis.json").write_bytes(canonical.encode(GENESIS))
        main(tmp_path, ca=registry.folder / "ca.pem", evaluators=evaluators, as_json=True)
        said: dict[str, Any] = json.loads(capsys.readouterr().out)
        return said

    return verify


def test_verify_finds_a_forged_evaluation_in_a_log(
    registry: Registry, verified: Callable[..., dict[str, Any]]
) -> None:
    eva = registry.of(WorkerId(EVALUATOR))
    said = verified(signed(eva))
    assert said["proven"], said
    assert any("invented the evaluator (--evaluators)" in line for line in said["trusted"])
    for forged, sentence in forgeries(registry):
        said = verified(forged)
        assert sentence in said["first_fault"], said
        assert said["first_fault"].startswith("record 0: ")
    of_another_log = signed(eva, digest=OTHER)
    assert "was evaluated is not version 0 of this log" in verified(of_another_log)["first_fault"]
    assert "is not version 7 of this log" in verified(signed(eva, version=7))["first_fault"]


def test_an_evaluator_that_is_not_pinned_is_none(
    registry: Registry, verified: Callable[..., dict[str, Any]]
) -> None:
    true = signed(registry.of(WorkerId(EVALUATOR)))
    said = verified(true, evaluators=registry.folder / "pins.yaml")
    assert "eva of eva-inc with key" in said["first_fault"]
    assert "is not pinned" in said["first_fault"]


def test_with_the_check_off_verify_proves_what_was_made_up(
    registry: Registry,
    verified: Callable[..., dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    off(monkeypatch, "commands.verify.audit")
    for forged, _ in forgeries(registry):
        assert verified(forged)["proven"] == (forged.digest != OTHER)
