"""Real servers in the forms that a coordinator meets beside its own: TLS, ACL, cluster, replicas.

The embedded Valkey knows no TLS: that needs the distribution's Redis.
"""

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

from redis import Redis
from redis.exceptions import RedisError

from commands.demo.layout import free_ports
from services.coordinator.live.embedded_valkey import server_program
from services.trust.identity import Role
from tests.rig.certificates import authority, tls_files
from tests.rig.programs import needed

USER = (
    "user crosscloud on >pass/word ~crosscloud:* +@hash +@string +@keyspace +@scripting "
    "-@dangerous +info +ping"
)
IN_A_CLUSTER = "+cluster|slots +cluster|shards +command"
ACCESS = f"crosscloud:{quote('pass/word', safe='')}"
_SLOTS = 16384


@contextlib.contextmanager
def redis_with_tls(folder: Path) -> Iterator[str]:
    """Serve over TLS only, to a user who may do what the runbook says and no more."""
    tls = tls_files(folder, authority(), Role.COORDINATOR, "redis", hosts=("127.0.0.1",))
    (port,) = free_ports(1)
    config = f"""
port 0
tls-port {port}
tls-cert-file {tls.certificate}
tls-key-file {tls.key}
tls-ca-cert-file {tls.ca}
tls-auth-clients no
user default off
{USER}
"""
    url = f"rediss://{ACCESS}@127.0.0.1:{port}/0?ssl_ca_certs={tls.ca}"
    with _started(needed("redis-server"), folder, config):
        with Redis.from_url(url) as client:
            _until(client.ping)
        yield url


@contextlib.contextmanager
def cluster(program: str, folder: Path, num_nodes: int = 3) -> Iterator[str]:
    """Serve as a cluster of primaries, each with its part of the slots."""
    ports = free_ports(2 * num_nodes)
    nodes = list(zip(ports[:num_nodes], ports[num_nodes:], strict=True))
    with contextlib.ExitStack() as stack:
        clients = []
        for port, bus in nodes:
            (folder / str(port)).mkdir()
            config = (
                f"port {port}\ncluster-enabled yes\ncluster-port {bus}\nbind 127.0.0.1\n"
                f"{USER} {IN_A_CLUSTER}"
            )
            stack.enter_context(_started(program, folder / str(port), config))
            clients.append(stack.enter_context(Redis(port=port)))
        for i, (client, (port, bus)) in enumerate(zip(clients, nodes, strict=True)):
            _until(client.ping)
            first, last = i * _SLOTS // num_nodes, (i + 1) * _SLOTS // num_nodes - 1
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, last)
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port, bus)
        for client in clients:
            _until(partial(_is_whole, client))
        yield f"redis+cluster://{ACCESS}@127.0.0.1:{nodes[0][0]}"


@contextlib.contextmanager
def tcp_server(folder: Path, config: str = "") -> Iterator[Redis]:
    """Serve on a port of its own; yields an administrator's client."""
    folder.mkdir()
    (port,) = free_ports(1)
    settings = f"port {port}\nbind 127.0.0.1\nrepl-diskless-sync-delay 0\n{config}"
    with _started(server_program(), folder, settings), Redis(port=port) as client:
        _until(client.ping)
        yield client


def address(server: Redis) -> str:
    """Return HOST:PORT of a `tcp_server`."""
    return f"127.0.0.1:{server.connection_pool.connection_kwargs['port']}"


def follow(replica: Redis, primary: Redis) -> None:
    """Make a replica of a server, and return once it holds what the primary holds."""
    host, _, port = address(primary).rpartition(":")
    replica.replicaof(host, port)
    _until(lambda: replica.info("replication").get("master_link_status") == "up")
    _until(
        lambda: (
            replica.info("replication")["slave_repl_offset"]
            == primary.info("replication")["master_repl_offset"]
        )
    )


def promote(replica: Redis) -> None:
    """Make a primary of a replica."""
    replica.replicaof("NO", "ONE")


@contextlib.contextmanager
def _started(program: str, folder: Path, config: str) -> Iterator[None]:
    (folder / "redis.conf").write_text(f'{config}\nsave ""\ndir {folder}\n')
    process = subprocess.Popen(
        [program, f"{folder}/redis.conf"], stdout=subprocess.DEVNULL, cwd=folder
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _is_whole(client: Redis) -> bool:
    return client.cluster("info")["cluster_state"] == "ok"


def _until(holds: Callable[[], object]) -> None:
    for _ in range(3000):
        with contextlib.suppress(RedisError):
            if holds():
                return
        time.sleep(0.01)
    raise AssertionError("the server did not start")
