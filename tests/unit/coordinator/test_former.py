"""A takeover from a store that somebody else wrote: only what the log bears out is believed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common import canonical
from common.ids import is_round_id, is_worker_id
from common.text import printable
from coordinator.ports import Append, Delete, DropSpool, Effect, Forgotten, Save, Table
from coordinator.saved_round import OPEN, SavedRound
from tests.rig.rounds.run_script import Script, begun
from tests.unit.coordinator.test_run import round_in

PHASES = ("share_keys", "collect_masked", "unmask")
EVIL = ("/", "/tmp", "../log", "..", "", "5E" * 16, "5e" * 16, "\n", "é", "\x00", "aws", "ending")
LEAVES: Any = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(EVIL),
    st.text(max_size=8),
)
VALUES: Any = st.recursive(
    LEAVES, lambda v: st.lists(v) | st.dictionaries(st.text(), v), max_leaves=4
)


def left_in(phase: str) -> tuple[Script, dict[str, Any]]:
    """Return a script whose coordinator died in `phase`, and what it left, to be changed."""
    script = round_in(phase)
    return script, json.loads(script.store[Table.ROUND][OPEN])


def written(document: object) -> bytes:
    """Return the canonical form: only a document's content is wrong, and never its spelling."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode("ascii")


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        document.items()
        if isinstance(document, dict)
        else enumerate(document)
        if isinstance(document, list)
        else ()
    )
    return [p for k, v in inner for p in [(*path, k), *places(v, (*path, k))]]


def changed(document: Any, path: tuple[Any, ...], value: object) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def taken_over(script: Script, content: bytes, found: Any = None) -> tuple[Effect, ...]:
    """Take over with `content` as the open round; whatever it is, these hold."""
    script.store[Table.ROUND] = {**(found or {}), OPEN: content}
    effects = script.start(9.0)
    forgotten = [e for e in effects if isinstance(e, Forgotten)]
    records = [e.record for e in effects if isinstance(e, Append)]
    assert records[0].takeover is not None
    for effect in effects:
        if isinstance(effect, DropSpool):
            assert is_round_id(effect.round)
    if forgotten:
        assert [f.key for f in forgotten] == ["round[open]"]
        assert printable(forgotten[0].why) == forgotten[0].why
        assert len(records) == 1
        assert not any(isinstance(e, DropSpool) for e in effects)
        changes = [c for e in effects if isinstance(e, Save) for c in e.changes]
        assert Delete(Table.ROUND, OPEN) in changes
    else:
        saved = canonical.decode(content, SavedRound)
        for abort in (r.abort for r in records[1:]):
            assert abort is not None
            assert (abort.round, abort.roster) == (saved.plan.round, saved.plan.roster)
            assert is_round_id(abort.round)
            assert all(map(is_worker_id, abort.roster))
            assert abort.roster == tuple(sorted(set(abort.roster)))
    return effects


@pytest.mark.parametrize("phase", PHASES)
def test_what_an_earlier_coordinator_left_is_aborted_by_record(phase: str) -> None:
    script, _ = left_in(phase)
    effects = taken_over(script, script.store[Table.ROUND][OPEN])
    assert sum(isinstance(e, Append) and e.record.abort is not None for e in effects) == 1


def _twice(left: dict[str, Any]) -> None:
    left["plan"]["offers"].append(left["plan"]["offers"][-1])


def _reversed(left: dict[str, Any]) -> None:
    left["plan"]["offers"].reverse()


def _too_many(left: dict[str, Any]) -> None:
    one = left["plan"]["offers"][0]
    left["plan"]["offers"] = [{**one, "worker": f"w{i:03}"} for i in range(100)]


def _set(*path: Any, to: object) -> Callable[[dict[str, Any]], None]:
    return lambda left: changed(left, path, to)


LIES: dict[str, Callable[[dict[str, Any]], None]] = {
    "an absolute path": _set("plan", "round", to="/var/lib"),
    "a path upwards": _set("plan", "round", to="../log"),
    "no hexadecimal id": _set("plan", "round", to="r" * 32),
    "an id in capitals": _set("plan", "round", to="5E" * 16),
    "no phase": _set("phase", to="unmasked"),
    "a phase in which no round is open": _set("phase", to="committed"),
    "a log that is longer": _set("num_records", to=10**6),
    "a negative log": _set("num_records", to=-1),
    "another run": _set("plan", "run", to="other"),
    "another tier": _set("plan", "tier", to="masked"),
    "another head": _set("plan", "digest", to="a" * 64),
    "a later version": _set("plan", "version", to=7),
    "another threshold": _set("plan", "threshold", to=1),
    "no offers": _set("plan", "offers", to=[]),
    "a name that is none": _set("plan", "offers", 0, "worker", to="../aws"),
    "a member twice": _twice,
    "an order of its own": _reversed,
    "too many members": _too_many,
    "a survivor from nowhere": _set("survivors", to=["onprem"]),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_round_that_no_coordinator_of_this_run_can_have_left_counts_as_lost(lie: str) -> None:
    script, left = left_in("unmask")
    LIES[lie](left)
    effects = taken_over(script, written(left))
    assert any(isinstance(e, Forgotten) for e in effects)
    script.keep(effects)
    assert not script.store[Table.ROUND]
    for line in ("10 join aws", "10 join azure", "11 offer aws", "11 offer azure"):
        script.tell(line)  # the next round opens as ever
    assert script.run.status(11).phase == "share_keys"


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(PHASES), st.data())
def test_whatever_a_field_of_the_stored_round_says_the_takeover_goes_on(
    phase: str, data: st.DataObject
) -> None:
    script, left = left_in(phase)
    for _ in range(data.draw(st.integers(1, 3))):
        changed(left, data.draw(st.sampled_from(places(left))), data.draw(VALUES))
    taken_over(script, written(left))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
@example(b"")
@example(b"null")
@example(b"9" * 5000)
@example(b"[" * 100_000)
@example(b'{"num_records":1e999}')
@example(b'"\\ud800"')
def test_whatever_bytes_the_stored_round_is_the_takeover_goes_on(content: bytes) -> None:
    taken_over(begun(), content)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), st.binary()), st.dictionaries(st.text(), st.binary()))
def test_members_offers_and_fields_of_somebody_else_are_deleted_unread(
    fields: dict[str, bytes], others: dict[str, bytes]
) -> None:
    script, _ = left_in("unmask")
    content = script.store[Table.ROUND][OPEN]
    script.store[Table.MEMBERS], script.store[Table.OFFERS] = dict(fields), dict(others)
    script.keep(taken_over(script, content, {"\udcff": b"", **others}))
    assert not script.store[Table.MEMBERS]
    assert not script.store[Table.OFFERS]
    assert script.store[Table.ROUND].keys() <= {OPEN, "outcome"}
