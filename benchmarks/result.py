"""What every benchmark leaves behind: figures with the command, date and machine that made them."""

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

RESULTS: Final = Path(__file__).parent / "results"
"""What is committed."""


def write_result(script: str, found: Mapping[str, Any]) -> None:
    """Write `results/<script>.json`."""
    about = {
        "command": f"python -m benchmarks.{script} {' '.join(sys.argv[1:])}".strip(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": f"{os.cpu_count()} x {platform.machine()}, {platform.system()}",
        "python": platform.python_version(),
    }
    RESULTS.mkdir(exist_ok=True)
    content = json.dumps({**found, **about}, indent=2, sort_keys=True) + "\n"
    (RESULTS / f"{script}.json").write_text(content, encoding="utf-8")
