import io
import json
import logging
from collections.abc import Iterator

import pytest

from services.observe.logs import configure


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[logging.Logger]:
    """Leave logging as it was: pytest's own handlers live there."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_json_lines_carry_run_process_and_what_was_given_as_extra() -> None:
    out = io.StringIO()
    configure("json", "info", run="demo", process="worker aws", stream=out)
    log = logging.getLogger("services.x")
    log.info("version %d", 7, extra={"round": "ab"})
    log.debug("not seen")
    (line,) = out.getvalue().splitlines()
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "level": "info",
        "logger": "services.x",
        "run": "demo",
        "process": "worker aws",
        "message": "version 7",
        "round": "ab",
    }


def test_a_workers_lines_name_it_and_a_coordinators_the_worker_that_they_are_about() -> None:
    out = io.StringIO()
    configure("json", "info", run="demo", process="worker aws", worker="aws", stream=out)
    logging.getLogger().info("contributed")
    configure("json", "info", run="demo", process="coordinator", stream=out)
    logging.getLogger().info("lost", extra={"worker": "gcp"})
    logging.getLogger().info("nobody")
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [line.get("worker") for line in lines] == ["aws", "gcp", None]


def test_json_keeps_a_traceback_on_its_line() -> None:
    out = io.StringIO()
    configure("json", "info", run="demo", process="worker aws", stream=out)
    try:
        int("broken")
    except ValueError:
        logging.getLogger().exception("it broke")
    (line,) = out.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["traceback"]


def test_console_lines_name_the_process() -> None:
    out = io.StringIO()
    configure("console", "warning", run="demo", process="worker aws", stream=out)
    logging.getLogger().warning("slow")
    assert out.getvalue().endswith(" worker aws   WARNING slow\n")


def test_configuring_again_replaces_what_was(root_logger: logging.Logger) -> None:
    for _ in range(2):
        configure("console", "info", run="demo", process="x", stream=io.StringIO())
    assert len(root_logger.handlers) == 1


FORGED = "aws: bye\n12:00:00 control      WARNING rolled back by ann\x1b[2J\r\x9b0m\u2028\u202ex"


def test_what_a_worker_wrote_begins_no_line_and_reaches_no_terminal() -> None:
    out = io.StringIO()
    configure("console", "info", run="demo", process="control", stream=out)
    logging.getLogger().info("%s: %s", "left", FORGED)
    (line,) = out.getvalue().splitlines()
    assert line.endswith(
        r"left: aws: bye\n12:00:00 control      WARNING rolled back by ann"
        r"\x1b[2J\r\x9b0m\u2028\u202ex"
    )


def test_what_a_worker_wrote_reaches_no_terminal_from_json_either() -> None:
    out = io.StringIO()
    configure("json", "info", run="demo", process="control", stream=out)
    logging.getLogger().info("%s", FORGED, extra={"round": "\x1b[2J", "number": 7})
    fields = json.loads(out.getvalue())
    assert fields["message"].isprintable()
    assert (fields["round"], fields["number"]) == (r"\x1b[2J", 7)


def test_an_error_s_own_words_are_no_line_of_the_log_s() -> None:
    out = io.StringIO()
    configure("console", "info", run="demo", process="control", stream=out)
    logging.getLogger().error("it broke", exc_info=ValueError(FORGED))
    first, *others = out.getvalue().rstrip("\n").split("\n")
    assert first.endswith("ERROR   it broke")
    assert all(line.startswith("  ") for line in others)
    assert "\x1b" not in out.getvalue()
