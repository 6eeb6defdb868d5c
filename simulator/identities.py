"""Who is who in every simulated run: real certificates, member list, pins; made once per process.

Files of `crosscloud certs init`, read by what reads them in coordinator and workers. Making and
reading them is most of what identities cost, and none of it depends on a history.
"""

import datetime
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from common.documents import RollbackOrder
from common.ids import Digest, WorkerId
from common.parties import Party
from services.config.settings import TlsSettings
from services.trust.authority import CA_CERTIFICATE, MEMBERS, Holder, init_federation
from services.trust.genuine import Genuine
from services.trust.identity import MemberList, Role
from services.trust.pins import PINS, pin_workers
from services.trust.signing import Signer, signed_order
from services.worker.trusted import PinnedMembers
from worker.rounds.attempt import Sign

RUN: Final = "simulated"
WORKERS: Final = tuple(WorkerId(f"w{i}") for i in range(5))
OPERATORS: Final = tuple(f"tester{i}" for i in range(1, 5))


class Identities:
    """See the module docstring."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="crosscloud-")  # while this lives
        folder = Path(self._folder.name)
        workers = [Holder(Role.WORKER, w, f"org-{w}") for w in WORKERS]
        operators = [Holder(Role.OPERATOR, name, "operators") for name in OPERATORS]
        init_federation(folder, RUN, [*workers, *operators])
        ca, pins = folder / CA_CERTIFICATE, folder / PINS
        pin_workers(pins, [folder / f"{w}.pem" for w in WORKERS])
        now = datetime.datetime.now(datetime.UTC)  # no process lasts until they expire
        members = PinnedMembers(RUN, ca, pins, lambda: now)
        self.genuine = Genuine(ca, lambda: now)
        self.listed = MemberList(folder / MEMBERS, RUN)
        self.admits: Callable[[bytes], Party] = functools.cache(members)
        ordering = PinnedMembers(RUN, ca, None, lambda: now, Role.OPERATOR)
        self.operators: Callable[[bytes], Party] = functools.cache(ordering)
        self.evaluators = PinnedMembers(RUN, ca, None, lambda: now, Role.EVALUATOR)
        self._orderers = {name: _tls(folder, name) for name in OPERATORS}
        self._signers = {worker: Signer(_tls(folder, worker)) for worker in WORKERS}

    def certificate(self, worker: WorkerId) -> str:
        """Return a worker's certificate, base64 of its DER."""
        return self._signers[worker].certificate()

    def signer(self, worker: WorkerId) -> Sign:
        """Return what signs with a worker's key."""
        return self._signers[worker].sign

    def order(
        self, by: str, *, genesis: Digest, version: int, digest: Digest, num_records: int
    ) -> RollbackOrder:
        """Return an operator's signed order to roll back."""
        return signed_order(
            self._orderers[by],
            genesis=genesis,
            version=version,
            digest=digest,
            num_records=num_records,
        )


def _tls(folder: Path, name: str) -> TlsSettings:
    return TlsSettings(
        ca=folder / CA_CERTIFICATE, certificate=folder / f"{name}.pem", key=folder / f"{name}.key"
    )


@functools.cache
def identities() -> Identities:
    """Return those of this process."""
    return Identities()
