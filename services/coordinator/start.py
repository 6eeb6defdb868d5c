"""What all processes of a coordinator begin with: settings, genesis, logging."""

import argparse
import gc
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from common import canonical
from common.documents import Genesis, Version
from common.errors import ConfigError
from common.foreign import boundary
from services.config.addresses import joined
from services.config.genesis_file import first_files, load_genesis
from services.config.places import await_ports, check_folder
from services.config.settings import CoordinatorSettings, load_coordinator
from services.config.soundness import refuse_unsound
from services.coordinator.kept.files import CoordinatorFiles
from services.disk.data_store import DataStore
from services.disk.files import keep_files_private, make_private_folder
from services.observe import logs
from services.process.descriptors import raise_limit
from services.trust.identity import MemberList, Role
from services.wire.child import Line


def begin(config: Path, process: str) -> tuple[CoordinatorSettings, Genesis]:
    """Read the settings and the genesis that they name; set logging up, and data_dir.

    Args:
        process: what the log calls this process.

    Raises:
        ConfigError: a file is missing or wrong, or the run cannot work here.
        StorageError: the disk is full.
    """
    keep_files_private()
    settings = load_coordinator(config)
    genesis = load_genesis(settings.genesis)
    logs.configure(settings.log.format, settings.log.level, run=genesis.run, process=process)
    raise_limit()
    refuse_members(settings, genesis)
    check_folder("data_dir", settings.data_dir)
    make_private_folder(settings.data_dir)
    return settings, genesis


def refuse_members(settings: CoordinatorSettings, genesis: Genesis) -> str:
    """Return how many are on the member list, where the run can work with them.

    Raises:
        ConfigError: it cannot, or the list is missing or wrong.
    """
    listed = MemberList(settings.members, genesis.run).members.values()
    organisations = [m.organisation for m in listed if m.role is Role.WORKER]
    num_workers, num_organisations = len(organisations), len(set(organisations))
    refuse_unsound(
        genesis.algorithm,
        genesis.stop,
        allowed_tiers=settings.allowed_tiers,
        num_workers=num_workers,
        num_organisations=num_organisations,
    )
    return f"{len(listed)} names, {num_workers} workers of {num_organisations} organisations"


def begin_child(
    process: str, receives: Sequence[type[Any]]
) -> tuple[CoordinatorSettings, Genesis, Line]:
    """Begin as a child of control, started with `--fd N CONFIG`.

    Args:
        process: what the log calls this process.
        receives: types of the messages that control may send.

    Raises:
        ConfigError: as `begin`.
    """
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("config", type=Path)
    parsed = arguments.parse_args()
    line = Line(parsed.fd, receives)
    line.hold()
    return *begin(parsed.config, process), line


def import_version0(
    settings: CoordinatorSettings, genesis: Genesis, given_up: threading.Event
) -> None:
    """Take the first version's files from beside genesis.json, unless they are here.

    Args:
        given_up: set where nobody waits for them any more; the next start goes on.

    Raises:
        ConfigError: they are not there.
    """
    files = CoordinatorFiles(settings.data_dir)
    store = DataStore(files.data)
    if store.has(genesis.version0) or (files.log.is_dir() and any(files.log.iterdir())):
        return
    folder = first_files(settings.genesis)
    source = DataStore(folder)
    if not source.has(genesis.version0):
        raise ConfigError(
            f"the first version's files are not in {folder}: keep the folder that "
            "`crosscloud genesis` wrote beside genesis.json"
        )
    version = canonical.decode(source.read(genesis.version0, verify=True), Version)
    for digest in dict.fromkeys(version.blobs()):
        if given_up.is_set():
            return
        store.write(source.read(digest, verify=True))
    store.write(source.read(genesis.version0))
    store.sync()


def try_ports(settings: CoordinatorSettings) -> None:
    """Try the ports before anything else is begun.

    Raises:
        ConfigError: one of them cannot be listened on; names the field.
    """
    await_ports(
        {
            "control_port": (settings.host, settings.control_port),
            "bulk_port": (settings.host, settings.bulk_port),
            "metrics.port": (settings.metrics.host, settings.metrics.port),
        }
    )


def listen(
    server: grpc.Server | grpc.aio.Server,
    setting: str,
    host: str,
    port: int,
    credentials: grpc.ServerCredentials,
) -> int:
    """Let a server listen; return the port.

    Raises:
        ConfigError: nothing can listen there; names the field.
    """
    address = joined(host, port)
    with boundary(setting, f"cannot listen on {address}", "end what listens there"):
        return server.add_secure_port(address, credentials)


def settle() -> None:
    """Let the garbage collector look no more at what lasts as long as this process; once it serves.

    A full collection happens when a quarter as much as there is has come besides. Of modules and
    stubs alone there are 90,000 objects: it came every few minutes, held everything up for 50 ms,
    and until then the interpreter's lists of free tuples grew, by megabytes in an hour.
    """
    gc.collect()
    gc.freeze()
