"""A bare grpcio server over TLS that takes a stream of messages; rung by rung it does more with it.

The rungs lead to what the bulk port does with an upload:

    bare    takes the messages and forgets them
    digest  ... and hashes each with xxh3
    write   ... and writes it to a file
    sync    ... and syncs the file at the end

`python -m benchmarks.bare_stream CERTS FILE` prints its port and serves until its input ends.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import grpc
from xxhash import xxh3_128_digest

from services.disk.files import write_at

RUNGS: Final = ("bare", "digest", "write", "sync")


class _Server:
    def __init__(self, file: Path) -> None:
        self._file = file

    def handler(self, rung: str) -> Any:
        level = RUNGS.index(rung)

        def take(messages: Iterator[bytes], context: Any) -> bytes:
            self._file.unlink(missing_ok=True)
            fd = os.open(self._file, os.O_CREAT | os.O_RDWR, 0o600)
            try:
                offset = 0
                for message in messages:
                    if level >= 1:
                        xxh3_128_digest(message)
                    if level >= 2:
                        write_at(fd, message, offset)
                        offset += len(message)
                if level >= 3:
                    os.fsync(fd)
            finally:
                os.close(fd)
            return b""

        return grpc.stream_unary_rpc_method_handler(take)


def main() -> int:
    """Serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("certs", type=Path, help="folder of a federation's certificates")
    parser.add_argument("file", type=Path, help="where an upload is written")
    args = parser.parse_args()
    certs, file = args.certs, _Server(args.file)
    server = grpc.server(
        ThreadPoolExecutor(8), options=(("grpc.max_receive_message_length", 2**21),)
    )
    methods = {rung: file.handler(rung) for rung in RUNGS}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bare", methods),))
    pair = ((certs / "coordinator.key").read_bytes(), (certs / "coordinator.pem").read_bytes())
    credentials = grpc.ssl_server_credentials([pair], (certs / "ca.pem").read_bytes(), True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(grace=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
