"""The processes of a run and their plumbing: all that touches gRPC, Redis, files or TLS."""

from typing import Final

__version__: Final = "0.1.0"
