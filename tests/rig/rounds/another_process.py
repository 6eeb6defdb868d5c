"""Asks another process, in which sets have another order: the same has to come out."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def answer_in_another_process(module: str, function: str, hash_seed: str) -> str:
    """Return what a function of a module returns there."""
    return subprocess.run(
        [sys.executable, "-c", f"from {module} import {function} as f; print(f())"],
        env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
    ).stdout.strip()
