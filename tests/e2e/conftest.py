"""What the slow tests share with the integration tests."""

from tests.integration.conftest import make_coordinator

__all__ = ["make_coordinator"]
