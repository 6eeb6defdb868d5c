"""Which versions a worker goes to, and on whose word."""

from pathlib import Path

from common import canonical
from common.documents import Attestation, Record
from common.ids import Digest
from common.words import word_about
from services.worker.messages import Merge, Return
from tests.rig.rounds.small_chain import Coordinator
from tests.unit.services.worker.test_working import ME, Cloud
from worker.rounds.tls_tier import TlsTier
from worker.rounds.visited import Visited


class Witnessed(TlsTier):
    """Believes in the versions whose digests it was told."""

    def __init__(self) -> None:
        super().__init__(ME)
        self.told: set[Digest] = set()

    def heard(self, word: Attestation) -> None:
        """Look again at what is held."""

    def believes(self, record: Record, known: Visited, *, begun: bool) -> bool:
        return record.digest in self.told if record.rollback is None else known.returns(record)


async def witnessed(folder: Path) -> tuple[Cloud, Witnessed]:
    """Return a worker on version 1 that believes nobody about later ones."""
    coordinator, tier = Coordinator(), Witnessed()
    tier.told.add(coordinator.step().digest)
    made = Cloud(coordinator, folder, tier)
    await made.join()
    return made, tier


async def test_a_word_for_a_later_version_is_no_word_for_those_before_it(tmp_path: Path) -> None:
    cloud, tier = await witnessed(tmp_path)
    first, second = cloud.coordinator.step(), cloud.coordinator.step()
    await cloud.recorded(first)
    await cloud.recorded(second)
    assert cloud.replica.position.version == 1

    tier.told.add(second.digest)
    await cloud.attested(word_about(canonical.digest(cloud.coordinator.run.genesis), second, ME))
    assert cloud.replica.position.digest == second.digest
    merges = [m for m in cloud.trainer.told if isinstance(m, Merge)]
    assert [m.clock.version for m in merges] == [3]  # never on version 2, whose word never came
    assert first.digest not in cloud.conduct.known.versions.values()
    manifest = cloud.state.load()
    assert manifest is not None
    assert manifest.known == cloud.conduct.known


async def test_a_roll_back_to_where_it_stood_needs_no_word_for_what_it_undoes(
    tmp_path: Path,
) -> None:
    cloud, tier = await witnessed(tmp_path)
    tier.told.clear()  # everybody waits for somebody's word
    stood = cloud.coordinator.run.version
    undone = cloud.coordinator.step()
    back = cloud.coordinator.roll_back(1, stood)
    assert undone.commit is not None
    cloud.coordinator.gone.update((undone.commit.aggregate, undone.digest))  # and nobody has them
    await cloud.recorded(undone)
    assert cloud.replica.position.version == 1

    await cloud.recorded(back)
    assert (cloud.replica.position.version, cloud.replica.position.digest) == (3, back.digest)
    assert cloud.trainer.last(Return).clock.version == 3
    assert not [m for m in cloud.trainer.told if isinstance(m, Merge)]
    assert undone.digest not in cloud.conduct.known.versions.values()


async def test_a_newcomer_begins_at_a_version_that_it_was_given_a_word_for(tmp_path: Path) -> None:
    coordinator, tier = Coordinator(), Witnessed()
    first = coordinator.step()
    cloud = Cloud(coordinator, tmp_path, tier)
    await cloud.join()
    second = coordinator.step()
    tier.told.add(second.digest)
    await cloud.recorded(second)
    assert cloud.replica.position.digest == second.digest
    assert first.digest not in cloud.conduct.known.versions.values()
