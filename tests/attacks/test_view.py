from tests.attacks.harness import Registry
from tests.attacks.view import in_masked, in_tls


def test_in_tls_the_coordinator_reads_the_update_off_its_disk() -> None:
    (guess,) = in_tls()
    assert not guess.is_chance
    assert guess.same == guess.num
    assert guess.likeness > 0.999


def test_in_masked_nothing_that_it_holds_says_more_than_chance(registry: Registry) -> None:
    assert [guess for guess in in_masked(registry) if not guess.is_chance] == []
