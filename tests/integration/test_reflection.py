"""What a caller with a certificate can ask the coordinator's ports about themselves."""

import grpc
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from commands.demo.layout import COORDINATOR
from tests.integration.conftest import LoneCoordinator, Make
from tests.rig.workers.light_worker import credentials

OURS = {
    "control": {"crosscloud.v1.Session", "crosscloud.v1.Operator", "grpc.health.v1.Health"},
    "bulk": {"crosscloud.v1.Bulk"},
}
ITSELF = "grpc.reflection.v1alpha.ServerReflection"


def address(coordinator: LoneCoordinator, port: str) -> str:
    return str(getattr(coordinator.layout, port))


@pytest.mark.parametrize("port", OURS)
def test_both_ports_tell_their_services(coordinator: LoneCoordinator, port: str) -> None:
    creds = credentials(coordinator.folder / "certs", "aws")
    with grpc.secure_channel(address(coordinator, port), creds) as channel:
        told = ProtoReflectionDescriptorDatabase(channel)
        assert set(told.get_services()) == OURS[port] | {ITSELF}
        for service in OURS[port]:
            assert told.FindFileContainingSymbol(service).service


@pytest.mark.parametrize("port", OURS)
def test_without_a_certificate_nothing_is_told(coordinator: LoneCoordinator, port: str) -> None:
    ca = (coordinator.folder / "certs" / "ca.pem").read_bytes()
    for channel in (
        grpc.insecure_channel(address(coordinator, port)),
        grpc.secure_channel(address(coordinator, port), grpc.ssl_channel_credentials(ca)),
    ):
        with channel, pytest.raises(grpc.RpcError) as failed:
            ProtoReflectionDescriptorDatabase(channel).get_services()
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_setting_turns_it_off(make_coordinator: Make) -> None:
    coordinator = make_coordinator(start=False)
    coordinator.edit(COORDINATOR, reflection=False)
    coordinator.start()
    creds = credentials(coordinator.folder / "certs", "aws")
    for port in OURS:
        with grpc.secure_channel(address(coordinator, port), creds) as channel:
            with pytest.raises(grpc.RpcError) as failed:
                ProtoReflectionDescriptorDatabase(channel).get_services()
            assert failed.value.code() is grpc.StatusCode.UNIMPLEMENTED
