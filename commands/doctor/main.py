"""`crosscloud doctor`: one settings file in, findings out; which checks each role needs.

Nothing here changes a run: a coordinator's lease, log and versions are left alone, and the folders
get only short-lived files of its own.
"""

import asyncio
import datetime
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer

from commands.doctor import disk, learning, path, ports
from commands.doctor.findings import Finding, Stopwatch, checked
from commands.doctor.role import role_of
from commands.plan import room
from common.documents import Genesis
from common.errors import ConfigError, CrosscloudError
from common.text import printable
from services.config import state_owner
from services.config.genesis_file import load_genesis
from services.config.secret_urls import masked, shown
from services.config.settings import (
    CoordinatorSettings,
    EvaluatorSettings,
    OperatorSettings,
    TlsSettings,
    WorkerSettings,
    load_coordinator,
    load_evaluator,
    load_operator,
    load_worker,
)
from services.config.store_options import loud_options
from services.observe import progress
from services.process.exit_status import Exit
from services.trust.authority_file import certificate_in, read_certificate_file
from services.trust.identity import Role
from services.trust.own import check_own
from services.trust.pins import read_pins
from services.trust.signing import Signer
from services.wire.credentials import channel_credentials

_FEW_DAYS: Final = 5
_SLOW_REDIS_MS: Final = 50.0

Settings = CoordinatorSettings | WorkerSettings | EvaluatorSettings | OperatorSettings

_LOADERS: Final[Mapping[Role, Callable[[Path], Settings]]] = {
    Role.COORDINATOR: load_coordinator,
    Role.WORKER: load_worker,
    Role.EVALUATOR: load_evaluator,
    Role.OPERATOR: load_operator,
}


def main(config: Path, *, as_json: bool, out: progress.Outlet | None = None) -> Exit:
    """Print what is found; return 0 if every check is fine, else 1.

    Args:
        out: where people see that it is at work; None = standard error.
    """
    out = out or progress.outlet()
    with progress.shown("checking", unit="checks", out=out) as so_far:
        findings = []
        for finding in examine(config):
            findings.append(finding)
            so_far.advance()
    ok = all(f.ok for f in findings)
    if as_json:
        typer.echo(json.dumps({"ok": ok, "checks": [asdict(f) for f in findings]}))
    else:
        width = max(len(f.check) for f in findings)
        for f in findings:
            mark, sentence = "ok  " if f.ok else "FAIL", printable(f.sentence)
            typer.echo(f"{mark}  {f.check.ljust(width)}  {sentence}")
    return Exit.OVER if ok else Exit.FAILED


def examine(config: Path) -> Iterator[Finding]:
    """Yield a finding per check, those first that others rest on."""
    try:
        role = role_of(config)
        settings = _LOADERS[role](config)
        genesis = None
        if not isinstance(settings, OperatorSettings):
            genesis = load_genesis(settings.genesis)
    except CrosscloudError as e:
        yield Finding("configuration", False, masked(" ".join(str(e).split())))
        return
    run = settings.run if isinstance(settings, OperatorSettings) else _given(genesis).run
    yield Finding("configuration", True, f"{config} is a good file for {role.one} of run {run}")
    name = settings.name if isinstance(settings, WorkerSettings | EvaluatorSettings) else ""
    signs = role in (Role.OPERATOR, Role.EVALUATOR) or (
        role is Role.WORKER and _given(genesis).algorithm.masked
    )
    own = checked("certificate", lambda: _certificate(settings.tls, run, role, name, signs=signs))
    yield own
    match settings:
        case CoordinatorSettings():
            yield from _coordinator(settings, _given(genesis))
        case WorkerSettings() | EvaluatorSettings():
            yield from _learning(config, settings, _given(genesis), role)
    if isinstance(settings, CoordinatorSettings) or not own.ok:
        return
    control = settings.coordinator
    if isinstance(control, str):
        addresses = {"control": control}
    else:
        addresses = {"control": control.control, "bulk": control.bulk}
    reached = True
    for what, address in addresses.items():
        for finding in path.reach(what, address, settings.tls):
            yield finding
            reached = reached and finding.ok
    if reached:
        credentials = channel_credentials(settings.tls, run, role, name)
        yield from path.health(addresses["control"], credentials)
        if "bulk" in addresses:
            yield path.is_bulk(addresses["bulk"], credentials)


def _given(genesis: Genesis | None) -> Genesis:
    assert genesis is not None
    return genesis


def _certificate(tls: TlsSettings, run: str, role: Role, name: str, *, signs: bool) -> str:
    identity = check_own(tls, run, (role,), name=name).identity
    if signs:
        Signer(tls)  # refuses a key that cannot
    days, of_all = _days_left(tls.certificate), _days_left(tls.ca)
    if of_all < _FEW_DAYS:
        raise ConfigError(
            f"{tls.ca}, the authority, expires in {of_all} days, and every certificate with it: "
            "make a new federation's in an empty folder with `crosscloud certs init`"
        )
    if days < _FEW_DAYS:
        raise ConfigError(
            f"{tls.certificate} expires in {days} days: renew it with `crosscloud certs request` "
            "and `sign`; processes take the new one without a restart"
        )
    who = " ".join(dict.fromkeys((role, identity.name)))
    party = f" of {identity.organisation}" * (identity.organisation != identity.name)
    return f"{who}{party}, good for {min(days, of_all)} days"


def _days_left(path: Path) -> int:
    until = certificate_in(read_certificate_file(path), path).not_valid_after_utc
    return (until - datetime.datetime.now(datetime.UTC)).days


def _coordinator(settings: CoordinatorSettings, genesis: Genesis) -> Iterator[Finding]:
    def members() -> str:
        from services.coordinator.start import refuse_members

        return refuse_members(settings, genesis)

    def disk_room() -> str:
        num_members = genesis.algorithm.max_cohort
        peak = room.coordinator_disk_peak(genesis, settings.snapshot_every, num_members)
        return disk.room(folder, peak)

    folder = settings.data_dir
    yield checked("members", members)
    yield checked("disk owner", lambda: _owner(settings, genesis))
    yield checked("disk room", disk_room)
    yield checked("disk fsync", lambda: disk.durable(folder))
    yield checked("disk links", lambda: disk.exclusive(folder))
    runs = state_owner.runs_on(state_owner.claim_of(settings, genesis)) != ""
    yield checked("ports", lambda: ports.own_ports(settings, Role.COORDINATOR, runs=runs))
    yield checked("redis", lambda: _redis(settings, genesis.run))


def _owner(
    settings: CoordinatorSettings | WorkerSettings | EvaluatorSettings, genesis: Genesis
) -> str:
    claim = state_owner.claim_of(settings, genesis)
    known = state_owner.check(claim)
    said = f"{claim.folder} is {'this' if known else 'no'} run's{'' if known else ' yet'}"
    who = state_owner.runs_on(claim)
    if who is None:
        return f"{said}; whether a process runs on it cannot be told"
    if who and not claim.shared:
        return f"{said}; {who} runs on it, and no other starts there"
    return f"{said}; {who} runs on it" if who else said


def _save(folder: Path) -> str:
    from services.worker.state import read_manifest

    manifest = read_manifest(folder)
    if manifest is None:
        return "none yet: a start begins at the newest version"
    return f"{manifest.folder} at version {manifest.position.version}"


def _learning(
    config: Path, settings: WorkerSettings | EvaluatorSettings, genesis: Genesis, role: Role
) -> Iterator[Finding]:
    def disk_room() -> str:
        peak = (
            room.worker_disk_peak(genesis, room.ADAMW_BYTES)
            if role is Role.WORKER
            else room.evaluator_disk_peak(genesis)
        )
        return disk.room(settings.state_dir, peak)

    yield checked("disk owner", lambda: _owner(settings, genesis))
    if isinstance(settings, WorkerSettings):
        yield checked("trust", lambda: _trust(settings, genesis))
        yield checked("disk save", lambda: _save(settings.state_dir))
    yield checked("disk room", disk_room)
    yield checked("disk fsync", lambda: disk.durable(settings.state_dir))
    if role is Role.WORKER:
        yield checked("disk links", lambda: disk.exclusive(settings.state_dir))
    runs = state_owner.runs_on(state_owner.claim_of(settings, genesis)) != ""
    yield checked("ports", lambda: ports.own_ports(settings, role, runs=runs))
    yield from learning.look(config)
    if isinstance(settings, WorkerSettings) and settings.trust.pins and genesis.algorithm.masked:
        from services.worker.trusted import trust_of

        pins = settings.trust.pins
        fewest = max(trust_of(settings.trust).fewest, genesis.algorithm.min_cohort)
        yield checked("pins", lambda: _pinned(pins, fewest))


def _trust(settings: WorkerSettings, genesis: Genesis) -> str:
    from services.worker.trusted import agreed

    fewest, algorithm = agreed(settings.trust, genesis).fewest, genesis.algorithm
    sums = f": no sum of fewer than {fewest}, here {algorithm.min_cohort}" * algorithm.masked
    return f"this worker's own file allows the run's tier {algorithm.tier}{sums}"


def _pinned(path: Path, fewest: int) -> str:
    pins = read_pins(path)
    num_organisations = len({organisation for organisation, _ in pins.values()})
    said = f"{path}: {len(pins)} workers of {num_organisations} organisations"
    if num_organisations < fewest:
        raise ConfigError(
            f"{said}, and no sum of fewer than {fewest} organisations is taken part in: pin more"
        )
    return said


def _redis(settings: CoordinatorSettings, run: str) -> str:
    from services.coordinator.live.embedded_valkey import EmbeddedValkey

    if settings.redis_url is not None:
        url = settings.redis_url.get_secret_value()
        return "; WARNING: ".join((asyncio.run(_used(url, run)), *loud_options(url)))
    with tempfile.TemporaryDirectory() as folder, EmbeddedValkey(Path(folder)) as server:
        return f"embedded: {asyncio.run(_used(server.url, run))}"


async def _used(url: str, run: str) -> str:
    """Open the store as the coordinator does, which tries all that leading asks of it."""
    from services.coordinator.live.redis_store import RedisStore

    store = await RedisStore.open(url, run, "doctor")
    try:
        times_ms = []
        for _ in range(5):
            watch = Stopwatch()
            await store.ping()
            times_ms.append(watch.ms)
    finally:
        await store.close()
    median_ms = statistics.median(times_ms)
    if median_ms > _SLOW_REDIS_MS:
        raise ConfigError(
            f"Redis at {shown(url)} answers in {median_ms:.0f} ms, and every change waits for it: "
            "use one near the coordinator"
        )
    return (
        f"{shown(url)} answers in {median_ms:.1f} ms, gives and takes back a lease, keeps changes "
        "and evicts nothing"
    )
