"""The health service of the control port, which also tells what time it is there."""

import time
from typing import Any, Final

from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio  # type: ignore[attr-defined]
from typing_extensions import override

TIME_KEY: Final = "crosscloud-unix-ms"
"""Initial metadata of `Check`: the coordinator's clock, milliseconds since 1970 in decimal."""


class Health(aio.HealthServicer):  # type: ignore[misc]  # it has no types
    """See the module docstring."""

    @override
    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> health_pb2.HealthCheckResponse:
        """Answer, and say what time it is."""
        await context.send_initial_metadata(((TIME_KEY, str(round(1000 * time.time()))),))
        answer: health_pb2.HealthCheckResponse = await super().Check(request, context)
        return answer
