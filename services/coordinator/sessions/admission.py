"""Who may join this run: what `Join` must say, and the sentence for whoever says otherwise.

The certificate's name and role were checked before (`services/trust/identity.py`). Here it is about
sums: a worker whose run, model, protocol or arithmetic differs could never replay a step.
"""

from dataclasses import dataclass
from typing import Final

from common.documents import PROTOCOL
from common.errors import IncompatibleError
from common.ids import Digest
from protos.v1 import session_pb2

_MOST_CHARACTERS: Final = 128
"""Of what a worker calls its process and its program."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What every worker of this run has in common."""

    genesis: Digest
    schema: Digest
    self_test: Digest
    tier: str
    software: str
    validation: str = ""

    def check(self, join: session_pb2.Join) -> None:
        """Let `join` pass, or say what to change and on which side.

        Raises:
            IncompatibleError: protocol, features, run, model or self-test differ.
        """
        for name, said in (("boot", join.boot), ("software", join.software)):
            if len(said) > _MOST_CHARACTERS:
                raise IncompatibleError(
                    f"{name} has {len(said)} characters, at most {_MOST_CHARACTERS} are kept"
                )
        if join.protocol != PROTOCOL:
            outdated = "worker" if join.protocol < PROTOCOL else "coordinator"
            raise IncompatibleError(
                f"protocol {join.protocol} (software {join.software or 'unknown'}) cannot work "
                f"with protocol {PROTOCOL} (software {self.software}): upgrade the {outdated}"
            )
        if self.tier not in join.features:
            raise IncompatibleError(
                f"this run's privacy tier is {self.tier!r} and the worker offers "
                f"{', '.join(join.features) or 'none'}: upgrade the worker"
            )
        if join.genesis_hash.hex() != self.genesis:
            raise IncompatibleError(
                f"the worker pins another run: its genesis.json has SHA-256 "
                f"{join.genesis_hash.hex()[:16]}..., ours {self.genesis[:16]}...: "
                "give both the same genesis.json"
            )
        if join.schema_hash.hex() != self.schema:
            raise IncompatibleError(
                "the worker's learner built another model: schema "
                f"{join.schema_hash.hex()[:16]}..., expected {self.schema[:16]}...: use the "
                "learner and library versions of the genesis"
            )
        if join.validation != self.validation:
            raise IncompatibleError(
                f"the worker's validation shard is {join.validation[:16] or 'none'}, the run's "
                f"{self.validation[:16] or 'none'}: give it the shard of the genesis"
            )
        if join.self_test.hex() != self.self_test:
            raise IncompatibleError(
                f"the worker's arithmetic differs: self-test {join.self_test.hex()[:16]}..., "
                f"expected {self.self_test[:16]}...: its replays could never match; "
                "use the same crosscloud and numpy versions on both sides"
            )
