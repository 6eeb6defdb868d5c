"""Declares every command; each imports what it runs only when it is called.

So one command line serves images that hold different halves of the system. An error that we raise
on purpose ends with one line and the status of `services/process/exit_status.py`; a bug keeps its
traceback.
"""

import importlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from common.errors import ConfigError, CrosscloudError
from common.text import printable
from services import __version__
from services.config.config_file import placed
from services.config.secret_urls import masked
from services.observe.amounts import EGRESS_DOLLARS_PER_GB
from services.process.exit_status import exit_of

app = typer.Typer(
    name="crosscloud",
    help="Train one language model across clouds that never share their data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
certs = typer.Typer(help="Certificates of a federation.", no_args_is_help=True)
app.add_typer(certs, name="certs")

_OF_OTHERS = ("PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
"""Variables that programs with many processes share their metrics by: ours have a page each."""

Json = Annotated[bool, typer.Option("--json", help="For programs.")]
Config = Annotated[Path, typer.Option("--config", "-c", help="This process's YAML file.")]


def run() -> None:
    """Run the command in `sys.argv`; never returns normally."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # what it says is in our own sentences
    for name in _OF_OTHERS:
        os.environ.pop(name, None)
    try:
        if sys.flags.optimize > 1:
            raise ConfigError(
                "PYTHONOPTIMIZE=2 (python -OO) takes away docstrings, which transformers reads: "
                "unset it, or set it to 1"
            )
        app(prog_name="crosscloud")
    except CrosscloudError as e:
        sys.exit(_say(e, exit_of(e)))


def _say(error: CrosscloudError, status: int) -> int:
    for said in error.problems if isinstance(error, ConfigError) else (str(error),):
        typer.echo(f"crosscloud: {printable(masked(' '.join(said.split())))}", err=True)
    return status


def _run(module: str, function: str, *args: Any, **kwargs: Any) -> None:
    """Call what implements a command, and exit with the status that it returns."""
    try:
        called = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as e:
        if (e.name or "").split(".")[0] in (
            "commands",
            "services",
            "common",
            "coordinator",
            "worker",
        ):
            raise
        raise ConfigError(
            f"this command needs the package {e.name!r}, which is not installed here: "
            "pip install 'crosscloud[demo]', or [coordinator] or [worker] for one role"
        ) from None
    with placed(*(each for each in (*args, *kwargs.values()) if isinstance(each, Path))):
        raise typer.Exit(called(*args, **kwargs))


def _say_version(asked: bool) -> None:
    if asked:
        from common.documents import PROTOCOL

        numpy, python = importlib.metadata.version("numpy"), platform.python_version()
        typer.echo(f"crosscloud {__version__}, protocol {PROTOCOL}, numpy {numpy}, Python {python}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_say_version,
            is_eager=True,
            help="Say what has to be the same everywhere, and this Python.",
        ),
    ] = False,
) -> None:
    """Train one language model across clouds that never share their data."""


@app.command()
def demo(
    runs: Annotated[Path, typer.Option(help="Folder for the run's folder.")] = Path("runs"),
    name: Annotated[str, typer.Option(help="The run's name.")] = "demo",
    seconds: Annotated[float, typer.Option(min=10, help="Length of the run.")] = 100.0,
    keep: Annotated[bool, typer.Option(help="Leave certificates, log and versions.")] = False,
) -> None:
    """Train with four workers on this machine, over mTLS, and show it."""
    _run("commands.demo.demo", "main", runs=runs, name=name, seconds=seconds, keep=keep)


@app.command()
def coordinator(config: Config) -> None:
    """Run a coordinator until its run ends."""
    _run("services.coordinator.main", "main", config)


@app.command()
def worker(config: Config) -> None:
    """Run one cloud's worker until the run ends."""
    _run("services.worker.main", "main", config)


@app.command()
def evaluator(config: Config) -> None:
    """Measure each version until the run ends."""
    _run("services.evaluator.main", "main", config)


@app.command()
def genesis(
    config: Annotated[Path, typer.Option("--config", "-c", help="The run's YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for genesis.json and the first version.")],
) -> None:
    """Make the document that every process pins, and the first version."""
    _run("commands.genesis", "main", config, out)


@app.command()
def export(
    config: Annotated[Path, typer.Option("--config", "-c", help="An evaluator's YAML file.")],
    out: Annotated[Path, typer.Option(help="Folder for the model.")],
) -> None:
    """Write the newest version as a model that other programs load."""
    _run("commands.export", "main", config, out)


@app.command()
def plan(
    run: Annotated[Path, typer.Argument(help="The run's YAML file, or a genesis.json.")],
    options: Annotated[
        Path | None, typer.Option("--with", help="YAML file of clouds, links, speeds, prices.")
    ] = None,
    parameters: Annotated[
        float | None, typer.Option(help="Of the model, such as 1e9, instead of building it.")
    ] = None,
    worker: Annotated[
        list[str] | None, typer.Option(help="NAME or NAME=CLOUD; may be repeated.")
    ] = None,
    link: Annotated[
        list[str] | None, typer.Option(help="NAME=UP_MBPS/DOWN_MBPS; may be repeated.")
    ] = None,
    tokens_per_s: Annotated[
        list[str] | None, typer.Option(help="Training speed of all, or NAME=SPEED; repeatable.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="CLOUD=USD per GB to the internet; repeatable.")
    ] = None,
    coordinator: Annotated[
        str | None, typer.Option(help="Cloud that the coordinator stands in.")
    ] = None,
    json: Json = False,
) -> None:
    """Say what a run will move, cost, take and need, before anything is spent."""
    _run(
        "commands.plan.main",
        "main",
        run,
        options=options,
        parameters=parameters,
        workers=worker or (),
        links=link or (),
        speeds=tokens_per_s or (),
        prices=price or (),
        coordinator=coordinator,
        as_json=json,
    )


@app.command()
def doctor(config: Config, json: Json = False) -> None:
    """Check a process's settings, certificates, disk, Redis and way to the coordinator."""
    _run("commands.doctor.main", "main", config, as_json=json)


@app.command()
def probe(config: Config) -> None:
    """Ask the process that runs on a settings file here whether it is alive: 0 if it is, else 1."""
    _run("commands.doctor.probe", "main", config)


@app.command()
def status(
    config: Config,
    json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", help="Say it again every second.")] = False,
) -> None:
    """Say how the run is."""
    _run("commands.operator", "status", config, as_json=json, watch=watch)


@app.command()
def pause(config: Config) -> None:
    """Open no new round, and let the workers wait."""
    _run("commands.operator", "pause", config)


@app.command()
def resume(config: Config) -> None:
    """End a pause."""
    _run("commands.operator", "resume", config)


@app.command()
def stop(config: Config) -> None:
    """End the run after the open round."""
    _run("commands.operator", "stop", config)


@app.command()
def rollback(
    config: Config,
    version: Annotated[int, typer.Argument(min=0, help="Number of the version.")],
) -> None:
    """Make an earlier version the head again; local work on the newer ones is lost."""
    _run("commands.operator", "rollback", config, version)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="The run's folder, or a coordinator's data_dir.")],
    out: Annotated[Path | None, typer.Option(help="The page; report.html in RUN if none.")] = None,
    genesis: Annotated[
        Path | None, typer.Option(help="The run's genesis.json, where it lies elsewhere.")
    ] = None,
    price_per_gb: Annotated[
        float, typer.Option(min=0, max=1000, help="US dollars per 10^9 bytes that leave a cloud.")
    ] = EGRESS_DOLLARS_PER_GB,
) -> None:
    """Make one HTML page on a run that has ended: curves, rounds, bytes, cost, privacy."""
    arguments = {"out": out, "genesis": genesis, "price_per_gb": price_per_gb}
    _run("commands.report.main", "main", run, **arguments)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="A coordinator's data_dir, or a run's folder.")],
    genesis: Annotated[
        Path | None, typer.Option(help="The run's genesis.json, as your own process pins it.")
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="The federation's CA certificate.")] = None,
    pins: Annotated[Path | None, typer.Option(help="Workers' keys, as in trust.pins.")] = None,
    operators: Annotated[
        Path | None, typer.Option(help="Operators' keys, as in trust.operators.")
    ] = None,
    evaluators: Annotated[Path | None, typer.Option(help="Evaluators' keys, likewise.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="An exported model; FOLDER/model if it is there.")
    ] = None,
    json: Json = False,
) -> None:
    """Say whether a run's model is what its signed sums make, from its files alone."""
    files = {"genesis": genesis, "ca": ca, "pins": pins, "model": model}
    signers = {"operators": operators, "evaluators": evaluators}
    _run("commands.verify.main", "main", folder, **files, **signers, as_json=json)


@certs.command("init")
def certs_init(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    host: Annotated[
        list[str], typer.Option(help="DNS name or IP address of the coordinator; may be repeated.")
    ],
    worker: Annotated[
        list[str], typer.Option(help="NAME or NAME@ORGANISATION of a worker; may be repeated.")
    ],
    coordinator: Annotated[str, typer.Option(help="Likewise.")] = "coordinator",
    evaluator: Annotated[str, typer.Option(help="Likewise.")] = "evaluator",
    operator: Annotated[str, typer.Option(help="Likewise.")] = "operator",
    valid_days: Annotated[int, typer.Option(min=1, help="Days that certificates are good.")] = 365,
    min_cohort: Annotated[
        int,
        typer.Option(min=0, help="As in run.yaml; 0 in tier tls."),
    ] = 3,
) -> None:
    """Make a certificate authority, one certificate per name, and the member list.

    What is there already stays; nothing is replaced. Without @ORGANISATION a worker is its own.
    In the masked tier no sum has two workers of one organisation: MIN_COHORT workers of fewer
    organisations could never make one, which is refused; fewer workers, whose list may grow, are
    a warning.
    """
    _run(
        "commands.certs",
        "init",
        folder,
        run,
        hosts=tuple(host),
        workers=worker,
        coordinator=coordinator,
        evaluator=evaluator,
        operator=operator,
        valid_days=valid_days,
        min_cohort=min_cohort,
    )


@certs.command("request")
def certs_request(
    folder: Annotated[Path, typer.Argument(help="Where the key stays; made if missing.")],
    run: Annotated[str, typer.Option(help="The run's name.")],
    name: Annotated[str, typer.Option(help="NAME or NAME@ORGANISATION.")],
    role: Annotated[str, typer.Option(help="worker, evaluator, operator or coordinator.")],
    host: Annotated[
        list[str] | None, typer.Option(help="Of a coordinator: as in `init`; may be repeated.")
    ] = None,
) -> None:
    """Make NAME.key, which stays here, and NAME.csr for the authority to sign. Also to renew."""
    _run("commands.certs", "request", folder, run, role, name, hosts=tuple(host or ()))


@certs.command("sign")
def certs_sign(
    folder: Annotated[Path, typer.Argument(help="Folder of the authority and the member list.")],
    request: Annotated[Path, typer.Argument(help="NAME.csr, as it came.")],
    fingerprint: Annotated[str, typer.Option(help="As the request's maker read it out.")],
    valid_days: Annotated[int, typer.Option(min=1, max=3650, help="Days that it is good.")] = 365,
) -> None:
    """Sign a request: writes NAME.pem and puts the name on the member list."""
    arguments = {"fingerprint": fingerprint, "valid_days": valid_days}
    _run("commands.certs", "sign", folder, request, **arguments)


@certs.command("show")
def certs_show(file: Annotated[Path, typer.Argument(help="A .pem or .csr file.")]) -> None:
    """Say whose certificate or request this is, and its fingerprint."""
    _run("commands.certs", "show", file)
