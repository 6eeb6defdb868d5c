import logging
from pathlib import Path

import pytest

from services.config.renewed import fault_of
from services.coordinator.watch.own_certificate import OwnCertificate
from services.trust.identity import Role
from services.trust.own import check_own
from tests.rig.certificates import RUN, authority, tls_files


def test_a_coordinator_whose_certificate_ends_says_so_once_and_that_it_is_fit_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "services.coordinator.watch.own_certificate")
    ours = authority()

    def issued(*days: int) -> None:
        tls_files(tmp_path, ours, Role.COORDINATOR, "main", days=(days[0], days[1]))

    tls = tls_files(tmp_path, ours, Role.COORDINATOR, "main")
    own = OwnCertificate(lambda: fault_of(lambda: check_own(tls, RUN, (Role.COORDINATOR,))))
    for days in ((-1, 1), (-2, -1), (-1, 1)):
        issued(*days)
        for _ in range(4):
            own.look()
    ended, fit = caplog.records
    assert ended.levelno == logging.ERROR
    assert f"{tls.certificate} expired on" in ended.message
    assert fit.message == "this process's certificate is fit again"


def test_files_that_are_half_replaced_at_one_look_are_no_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = iter(["", "is not the key of", "", ""])
    own = OwnCertificate(lambda: next(said))
    for _ in range(4):
        own.look()
    assert not caplog.records
