"""gRPC server reflection: a server tells which services it has, and their messages.

It is a service of the same port, so only a caller with a certificate of the federation reaches it,
and it says what protos/v1 says to anybody.
"""

from typing import Any

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha.reflection import SERVICE_NAME, enable_server_reflection


def reflect(server: grpc.Server | grpc.aio.Server, *stubs: Any) -> None:
    """Add reflection for every service of these generated modules, and for itself."""
    files: list[FileDescriptor] = [stub.DESCRIPTOR for stub in stubs]
    names = [s.full_name for file in files for s in file.services_by_name.values()]
    enable_server_reflection([*names, SERVICE_NAME], server)
