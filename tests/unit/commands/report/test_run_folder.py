import json
import shutil

import pytest

from commands.report.run_folder import RoundLine, RunData, read_run
from common.errors import ConfigError
from tests.rig.rounds.made_up_run import change_result, write_run


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "demo")


def rounds_of(run: RunData) -> tuple[RoundLine, ...]:
    assert run.rounds is not None
    return run.rounds


def test_a_run_is_read_whole(folder):
    run = read_run(folder)
    assert run.result.versions == 18
    assert [m.version for m in run.measured] == list(range(19))
    assert run.measured[-1].bytes_moved == run.result.bytes_moved
    assert len(rounds_of(run)) == 20
    assert [r.outcome for r in rounds_of(run)].count("below_threshold") == 2
    assert run.genesis is not None
    assert run.genesis.run == "demo"
    assert (run.num_torn, run.genesis_from) == (0, "genesis.json")


def test_the_last_evaluation_may_be_in_the_result_alone(folder):
    change_result(folder, evaluated_version=19, loss_nats=1.5)
    measured = read_run(folder).measured
    assert [m.version for m in measured] == list(range(20))
    assert measured[-1].loss_nats == 1.5


def test_an_old_run_has_no_rounds_and_no_genesis(tmp_path):
    run = read_run(write_run(tmp_path / "demo", old=True))
    assert run.rounds is None
    assert run.genesis is None
    assert run.result.workers["aws"].bytes_by_kind is None


@pytest.mark.parametrize("place", ["genesis", ".."])
def test_the_genesis_is_found_where_runs_keep_it(folder, place):
    (folder / place).mkdir(exist_ok=True)
    target = folder / "genesis" if place == "genesis" else folder.parent / "genesis"
    target.mkdir(exist_ok=True)
    shutil.move(folder / "genesis.json", target / "genesis.json")
    assert read_run(folder).genesis is not None


def test_a_run_of_another_protocol_is_named_as_such_before_its_files_are_read(folder):
    (folder / "genesis.json").write_text('{"algorithm":{},"version0":"","protocol":5}')
    (folder / "result.json").write_text('{"run":"demo","version":1}')
    with pytest.raises(ConfigError, match="this run was begun under protocol 5"):
        read_run(folder)


def test_an_interrupted_local_run_is_read_from_its_coordinator(folder):
    (folder / "coordinator").mkdir()
    for name in ("result.json", "metrics.jsonl"):
        shutil.move(folder / name, folder / "coordinator" / name)
    assert read_run(folder).result.run == "demo"


def test_a_line_may_be_torn_at_any_byte(tmp_path):
    folder = write_run(tmp_path / "demo", num_rounds=1)
    path = folder / "metrics.jsonl"
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rpartition(b"\n")[2]
    for length in range(1, len(last)):
        path.write_bytes(whole + last[:length])
        run = read_run(folder)
        assert (run.num_torn, len(rounds_of(run))) == (1, 1), last[:length]


def test_a_torn_line_in_the_middle_is_left_out_too(folder):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:5], lines[5][:200], *lines[5:], ""]))
    run = read_run(folder)
    assert (run.num_torn, len(rounds_of(run))) == (1, 20)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda line: line.replace('"versions": 2', '"versions": "two"'), r"line 3.*versions: "),
        (lambda line: line.replace('"seconds": 6.6', '"seconds": -1'), r"line 3.*seconds: "),
        (lambda line: line.replace('"seconds": 6.6', '"seconds": NaN'), r"line 3.*seconds: "),
        (lambda line: line.replace('"loss_nats"', '"loss"'), r"line 3.*loss_nats: "),
        (lambda line: line[:100] + "\x00" + line[100:], "line 3 is damaged: "),
        (lambda line: "nothing of ours", "line 3 is damaged: "),
        (lambda line: line.replace('"demo"', '"\\ud800"'), "line 3 is damaged: "),
        (lambda line: line.replace('"closed_s": 6.0', '"closed_s": []'), r"rounds\.0\.closed_s"),
    ],
)
def test_a_damaged_line_is_named_with_what_to_do(folder, damage, said):
    path = folder / "metrics.jsonl"
    lines = path.read_text().splitlines()
    damaged = damage(lines[2])
    assert damaged != lines[2]
    path.write_text("\n".join([*lines[:2], damaged, *lines[3:], ""]))
    with pytest.raises(ConfigError, match=said) as caught:
        read_run(folder)
    assert str(path) in str(caught.value)
    assert "restore the file from a backup, or delete this line" in str(caught.value)


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl"])
def test_a_missing_file_is_named_with_what_to_do(folder, name):
    (folder / name).unlink()
    with pytest.raises(ConfigError, match="coordinator") as caught:
        read_run(folder)
    assert str(folder / name) in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"accuracy": 1.5}, "accuracy: "),
        ({"bytes_up": -1}, "bytes_up: "),
        ({"bytes_up": 2**64}, "bytes_up: "),
        ({"workers": {"aws": {}}}, r"workers\.aws\.contributions: "),
        ({"run": 7}, "run: "),
    ],
)
def test_a_damaged_result_is_named_with_field_and_fix(folder, changes, said):
    change_result(folder, **changes)
    with pytest.raises(ConfigError, match=said) as caught:
        read_run(folder)
    assert f"{folder / 'result.json'} is damaged" in str(caught.value)
    assert "copy it again" in str(caught.value)


def test_half_a_result_is_damaged(folder):
    path = folder / "result.json"
    path.write_text(path.read_text()[:80])
    with pytest.raises(ConfigError, match=r"result\.json is damaged"):
        read_run(folder)


def test_the_genesis_of_another_run_is_refused(folder, tmp_path):
    other = write_run(tmp_path / "other", run="other")
    with pytest.raises(ConfigError, match="genesis of run 'other'"):
        read_run(folder, other / "genesis.json")


def test_a_damaged_genesis_is_refused(folder):
    (folder / "genesis.json").write_text("{}")
    with pytest.raises(ConfigError, match="byte for byte"):
        read_run(folder)


def test_a_folder_that_is_none_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no such folder"):
        read_run(tmp_path / "none")


def test_a_round_that_two_lines_tell_is_counted_once(folder):
    path = folder / "metrics.jsonl"
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    assert len(rounds_of(read_run(folder))) == 20


def test_a_long_run_keeps_few_points_of_traffic(folder):
    path = folder / "metrics.jsonl"
    line = json.loads(path.read_text().splitlines()[-1])
    path.write_text(path.read_text() + (json.dumps(line | {"rounds": []}) + "\n") * 3000)
    assert len(read_run(folder).traffic) <= 500
