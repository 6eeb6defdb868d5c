import pytest

from commands.report.main import main, write_report
from common.errors import ConfigError
from tests.rig.rounds.made_up_run import write_run
from tests.rig.silent_outlet import SilentOutlet


@pytest.fixture
def folder(tmp_path):
    return write_run(tmp_path / "demo")


def test_the_page_lies_in_the_runs_folder_and_its_path_is_printed(folder, capsys):
    assert main(folder, out=None, genesis=None, price_per_gb=0.09) == 0
    path = folder / "report.html"
    assert path.read_text().startswith("<!DOCTYPE html>\n<html lang=")
    assert path.stat().st_mode & 0o777 == 0o644
    assert capsys.readouterr().out == f"report   {path}\n"


def test_the_page_goes_where_it_is_told_and_replaces_what_was_there(folder, tmp_path):
    out = tmp_path / "page.html"
    out.write_text("old")
    assert write_report(folder, out=out, price_per_gb=1.0) == out
    assert "at $1 per GB" in out.read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(("name", "said"), [("none/page.html", "no such folder"), ("", "a folder")])
def test_a_wrong_place_is_refused_with_what_to_do(folder, tmp_path, name, said):
    with pytest.raises(ConfigError, match=said):
        write_report(folder, out=tmp_path / name, price_per_gb=0.09)


def test_nothing_is_written_where_the_run_cannot_be_read(folder):
    (folder / "result.json").unlink()
    with pytest.raises(ConfigError):
        write_report(folder, price_per_gb=0.09)
    assert not (folder / "report.html").exists()


def test_who_waits_for_the_page_sees_that_it_is_made(folder):
    told = SilentOutlet()
    assert main(folder, out=None, genesis=None, price_per_gb=0.09, told=told) == 0
    assert told.num_ended == 1
