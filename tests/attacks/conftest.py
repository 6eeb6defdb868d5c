import pytest

from tests.attacks.harness import Registry, Table


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry.made(tmp_path_factory.mktemp("federation"))


@pytest.fixture
def table(registry: Registry) -> Table:
    return Table(registry)
