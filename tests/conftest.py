import os
import sys

import pytest
from hypothesis import settings

from tests.rig.programs import hidden, lacking, refuse_hidden

assert "numpy" not in sys.modules, "numpy reads these when it is imported"
os.environ |= {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # small products gain nothing
os.environ["HF_HUB_OFFLINE"] = "1"  # no test asks anybody outside, or waits for an answer
settings.register_profile("crosscloud", deadline=None)  # a busy machine is no failure
settings.load_profile("crosscloud")
if hidden():
    refuse_hidden()
if worker := os.environ.get("PYTEST_XDIST_WORKER"):  # "gw0": each has ports of its own
    from commands.demo import layout

    num_workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    layout.ports = layout.ports[int(worker.removeprefix("gw")) :: num_workers]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite", action="store_true", help="rewrite golden scenarios and tables of pages"
    )
    parser.addoption(
        "--histories", type=int, default=300, help="simulated histories to play (default: 300)"
    )
    parser.addoption(
        "--soak-minutes", type=float, default=1.0, help="length of the soak (default: 1)"
    )
    parser.addoption("--long", action="store_true", help="also tests that are marked `long`")
    parser.addoption(
        "--programs", action="store_true", help="only tests that use an optional program"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "long(reason): only with --long, since a test without the mark does as well"
    )
    config.addinivalue_line(
        "markers", "program(*names, required=True): uses them; skipped without them if required"
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what cannot run here, and say why; drop what was not asked for."""
    if not config.getoption("--long"):
        is_long = {i.nodeid for i in items if i.get_closest_marker("long")}
        _drop(config, items, is_long - {i.nodeid for i in items if _is_named(config, i)})
    using = []
    for item in items:
        for mark in item.iter_markers("program"):
            reason, is_required = lacking(*mark.args), mark.kwargs.get("required", True)
            if reason and is_required:
                item.add_marker(pytest.mark.skip(reason=reason))
            if is_required or not reason:
                using.append(item)
    if config.getoption("--programs"):
        _drop(config, items, {i.nodeid for i in items} - {i.nodeid for i in using})


def _is_named(config: pytest.Config, item: pytest.Item) -> bool:
    """Return whether the command line names just this one by its node id."""
    _, _, own = item.nodeid.partition("::")
    named = (arg.partition("::") for arg in config.args)
    here = config.invocation_params.dir
    return any(name == own and (here / path).resolve() == item.path for path, _, name in named)


def _drop(config: pytest.Config, items: list[pytest.Item], ids: set[str]) -> None:
    config.hook.pytest_deselected(items=[i for i in items if i.nodeid in ids])
    items[:] = [i for i in items if i.nodeid not in ids]


@pytest.fixture
def long(request: pytest.FixtureRequest) -> bool:
    """Whether --long is given: a number of rounds or faults can be larger then."""
    return bool(request.config.getoption("--long"))


@pytest.fixture
def rewrite(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--rewrite"))
