"""A server as the coordinator builds its ports, and a log beside it: how many files may it open?

python -m tests.rig.links.besieged FOLDER bounded|unbounded      one line in, one line out

port       -> the port
append     -> a record is appended, once: "appended", or the name of the error
exhausted  -> appends until there is no descriptor for it; then the name of the error
patiently  -> appends as the coordinator does: "appended", whenever that is
"""

import asyncio
import sys
from pathlib import Path

import grpc

from common.errors import CrosscloudError
from services.config.settings import TlsSettings
from services.disk.files import Draft, patiently
from services.process.descriptors import connections
from services.trust.authority import Holder, init_federation
from services.trust.identity import Role
from services.wire.channels import bounded, server_options
from services.wire.credentials import server_credentials

MAX_FILES = 192
WANTED = 1000


def append(folder: Path) -> None:
    with Draft(folder, "record") as draft:
        draft.append(b"x")
        draft.rename(folder / "record")


def said(folder: Path, command: str) -> str:
    if command == "patiently":
        patiently(append, folder)
        return "appended"
    while True:
        try:
            append(folder)
        except CrosscloudError as e:
            return type(e).__name__
        if command == "append":
            return "appended"


async def main(folder: Path, *, is_bounded: bool) -> None:
    init_federation(folder, "r", [Holder(Role.COORDINATOR, "c", "o", ("127.0.0.1",))])
    tls = TlsSettings(ca=folder / "ca.pem", certificate=folder / "c.pem", key=folder / "c.key")
    limits = bounded(connections("this", WANTED)) if is_bounded else ()
    server = grpc.aio.server(options=(*server_options(20.0), *limits))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(tls, "r"))
    await server.start()
    while command := (await asyncio.to_thread(sys.stdin.readline)).strip():
        answer = str(port) if command == "port" else await asyncio.to_thread(said, folder, command)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()
    await server.stop(0)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), is_bounded=sys.argv[2] == "bounded"))
