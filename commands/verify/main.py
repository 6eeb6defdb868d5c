"""`crosscloud verify`: is a run's model what its signed sums make? From files alone, and offline.

Three passes: the log as a chain with its members' words, the sums that are kept, the files' names.
Nothing behind the first record that is false is looked at.
"""

import datetime
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from commands.verify.audit import Audit
from commands.verify.check import Check, Verdict
from commands.verify.exported import weight_files
from commands.verify.kept_run import KeptRun, find_run
from common import canonical
from common.documents import Genesis
from common.errors import ConfigError, NotAMemberError
from common.log_head import LogHead
from common.parties import Admits, Party
from common.text import printable
from services.disk.data_store import DataStore
from services.observe.progress import Outlet, outlet
from services.process.exit_status import Exit
from services.trust.identity import Role
from services.worker.trusted import PinnedMembers

_MODEL: Final = "model"


@dataclass(frozen=True, slots=True)
class Believed:
    """Files of one's own, whatever lies in the folder; None = not given.

    Args:
        ca: the federation's CA certificate.
        pins: workers' keys.
        operators: operators' keys.
        evaluators: evaluators' keys.
    """

    genesis: Path | None = None
    ca: Path | None = None
    pins: Path | None = None
    operators: Path | None = None
    evaluators: Path | None = None


def main(
    folder: Path,
    *,
    as_json: bool,
    genesis: Path | None = None,
    ca: Path | None = None,
    pins: Path | None = None,
    operators: Path | None = None,
    evaluators: Path | None = None,
    model: Path | None = None,
    told: Outlet | None = None,
) -> Exit:
    """Say what is proven of a run, or what is false or missing; return 0 if all is proven, else 1.

    Args:
        told: where people see how far it is; None = standard error.

    Raises:
        ConfigError: an option names no such file, or the folder holds no run.
    """
    run = find_run(folder, genesis)
    if model is None and (folder / _MODEL).is_dir():
        model = folder / _MODEL
    if model is not None and not weight_files(model):
        raise ConfigError(f"--model: {model} holds no .safetensors: it cannot be compared")
    members = _admitted(run, ca, pins, Role.WORKER)
    audit = Audit(
        run.genesis,
        members,
        _admitted(run, ca, operators, Role.OPERATOR),
        _evaluators(run, ca, evaluators),
    )
    with tempfile.TemporaryDirectory(prefix="crosscloud-verify-") as work:
        check = Check(run, audit, DataStore(Path(work)), told or outlet())
        check.log()
        check.sums(may_build=genesis is not None)
        check.files()
        if model is not None:
            check.model(model)
    verdict, head = check.verdict, audit.head
    believed = Believed(genesis, ca, pins, operators, evaluators)
    verdict.trusted += _trusted(run, believed, head)
    verdict.trusted += _trusted_evaluations(run, believed, audit.num_evaluations)
    lines = [_json(verdict, head, run.genesis)] if as_json else _lines(verdict, head, run.genesis)
    sys.stdout.write("".join(f"{printable(line)}\n" for line in lines))
    return Exit.OVER if verdict.proven else Exit.FAILED


def _admitted(run: KeptRun, ca: Path | None, pins: Path | None, role: Role) -> Admits:
    """Return whose certificate one is or was, by the files that are believed."""
    if not run.genesis.algorithm.masked:
        return _nobody
    if (authority := ca or run.ca) is None:
        raise ConfigError(
            f"{run.files.folder}: no certs/ca.pem in it or beside it; name the federation's with "
            "--ca"
        )
    return _of_role(run, authority, pins, role)


def _evaluators(run: KeptRun, ca: Path | None, pins: Path | None) -> Admits | None:
    """Return the same of evaluators, who sign in every tier; None where no CA is known."""
    authority = ca or run.ca
    return None if authority is None else _of_role(run, authority, pins, Role.EVALUATOR)


def _of_role(run: KeptRun, authority: Path, pins: Path | None, role: Role) -> Admits:
    now = datetime.datetime.now
    return PinnedMembers(run.genesis.run, authority, pins, lambda: now(datetime.UTC), role).ever


def _nobody(_certificate: bytes) -> Party:
    raise NotAMemberError("in tier tls nobody signs")


def _trusted(run: KeptRun, believed: Believed, head: LogHead) -> Iterator[str]:
    """Yield what the verdict rests on, beside the run's arithmetic."""
    algorithm = run.genesis.algorithm
    if believed.genesis is None:
        yield "the genesis is the folder's: compare its SHA-256 with that of your own (--genesis)"
    yield "whether the log goes on behind its last record here, only another copy can tell"
    if not algorithm.masked:
        yield "in tier tls nobody signs a sum: the coordinator can have made up each of them"
        return
    yield f"of a round's members, at most {algorithm.colluding} lie together with the coordinator"
    if believed.ca is None:
        yield f"the CA is {run.ca}, from beside the log: name your own (--ca)"
    if believed.pins is None:
        yield "whoever holds the CA's key can have invented members: pin their keys (--pins)"
    if believed.operators is None and head.rolled_back >= 0:
        yield "and whoever ordered the roll-backs: pin the operators' keys (--operators)"


def _trusted_evaluations(run: KeptRun, believed: Believed, num: int) -> Iterator[str]:
    """Yield what of the evaluations is taken on trust."""
    if not num:
        return
    if believed.ca is None and run.ca is None:
        yield (
            f"nobody's signature under the {num} evaluations is checked: name the federation's CA "
            "(--ca)"
        )
    elif believed.evaluators is None:
        yield "whoever holds the CA's key can have invented the evaluator (--evaluators)"


def _json(verdict: Verdict, head: LogHead, genesis: Genesis) -> str:
    found = {
        "proven": verdict.proven,
        "first_fault": verdict.first_fault,
        "run": genesis.run,
        "genesis": canonical.digest(genesis),
        "num_records": head.next_seq,
        "version": head.version,
        "digest": head.digest,
        "replayed_from": verdict.start,
        "checks": [asdict(finding) for finding in verdict.findings],
        "trusted": verdict.trusted,
    }
    return json.dumps(found)


def _lines(verdict: Verdict, head: LogHead, genesis: Genesis) -> Iterator[str]:
    yield f"run {genesis.run}, tier {genesis.algorithm.tier}, genesis {canonical.digest(genesis)}"
    for f in verdict.findings:
        yield f"{'ok  ' if f.ok else 'FAIL'}   {f.check.ljust(5)}  {f.sentence}"
    for sentence in verdict.trusted:
        yield f"trust  {sentence}"
    if verdict.proven:
        signed, of = "signed " * genesis.algorithm.masked, f" of version {verdict.start}"
        made = f"is what these {signed}sums make{of * (verdict.start > 0)}, bit for bit"
        yield f"proven: version {head.version}, {head.digest}, {made}"
    else:
        yield f"not proven: {verdict.first_fault}"
