"""A coordinator on IPv6: every form of its host, and every program that dials it."""

import socket
from contextlib import closing

import pytest

from commands.demo.layout import COORDINATOR, EVALUATOR, OPERATOR
from services.trust.authority import Holder, init_federation
from services.trust.identity import Role
from tests.integration.conftest import LoneCoordinator, Make
from tests.integration.test_doctor import crosscloud, doctor


def _has_ipv6() -> bool:
    try:
        with closing(socket.create_server(("::1", 0), family=socket.AF_INET6)):
            return True
    except OSError:
        return False


pytestmark = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6, not even ::1")


def on_ipv6(made: LoneCoordinator, host: str) -> None:
    """Let the coordinator listen on `host`, and all others dial ::1."""
    certs = made.folder / "certs"
    for file in certs.glob("coordinator.*"):
        file.unlink()
    init_federation(certs, "test", [Holder(Role.COORDINATOR, COORDINATOR, "local", ("[::1]",))])
    layout = made.layout
    layout.control, layout.bulk = (
        a.replace("127.0.0.1", "[::1]") for a in (layout.control, layout.bulk)
    )
    port = layout.metrics_ports[COORDINATOR]
    made.edit(COORDINATOR, host=host, metrics={"host": host, "port": port})
    for name in ("aws", EVALUATOR):
        made.edit(name, coordinator={"control": layout.control, "bulk": layout.bulk})
    made.edit(OPERATOR, coordinator=layout.control)


SPELLINGS = pytest.mark.long("tests/unit/services/config/test_addresses.py reads every spelling")


HOSTS = ["[::]", *(pytest.param(h, marks=SPELLINGS) for h in ("::", "::1"))]


@pytest.mark.parametrize("host", HOSTS)
def test_everybody_reaches_a_coordinator_on_ipv6(make_coordinator: Make, host: str) -> None:
    made = make_coordinator(start=False)
    on_ipv6(made, host)
    made.start()
    config = made.layout.config
    for name in ("aws", OPERATOR):
        status, found = doctor(config(name))
        assert [c for c in found.values() if not c["ok"]] == [], name
        assert status == 0
    done = crosscloud("probe", config(COORDINATOR))
    assert done.returncode == 0, done.stderr
    assert crosscloud("status", config(OPERATOR)).returncode == 0
    with made.worker("aws") as worker:
        worker.join()


@pytest.mark.long("the test above has the host in the file; both are read as the same field")
@pytest.mark.parametrize("host", ["::", "[::]", "[::1]"])
def test_its_host_may_stand_in_the_environment(make_coordinator: Make, host: str) -> None:
    made = make_coordinator(start=False)
    on_ipv6(made, "127.0.0.1")
    variable = {"CROSSCLOUD_COORDINATOR__HOST": host}
    made.start(environ=variable)
    done = crosscloud("probe", made.layout.config(COORDINATOR), **variable)
    assert done.returncode == 0, done.stderr
