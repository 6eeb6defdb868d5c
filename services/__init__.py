"""Everything that touches the outside: gRPC, Redis, files, TLS, metrics, the command line."""

from typing import Final

__version__: Final = "0.1.0"
