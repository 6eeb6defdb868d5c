"""Host memory of one worker and of an evaluator: what each parameter costs, from two sizes.

    python -m benchmarks.worker_memory

A real federation of one worker over mTLS trains a small-vocabulary Llama for a few versions, with
the built-in learner, on the CPU, and an evaluator measures them. The peak of each process at one
size and at another gives a line: its slope is bytes per parameter, where it begins is the
interpreter, torch and the like. The formula that it checks is in docs/operations.md.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from benchmarks.commit_memory import family_of, memory_kib
from benchmarks.result import write_result
from commands.demo.layout import COORDINATOR, EVALUATOR, FederationSpec, Layout, WorkerSpec
from commands.demo.processes import LocalProcess, ProcessFailedError
from services.config.genesis_file import load_genesis
from services.process.own_modules import own_command, own_path

TRAINER_BYTES: Final = 16
"""Of one parameter: float32 value, gradient, AdamW's two moments; the allocator keeps some more."""
LINK_BYTES: Final = 0
EVALUATOR_BYTES: Final = 4
"""Of one parameter: its float32 value; versions pass segment by segment."""

_LAYERS: Final = (5, 15)
_QUICK_LAYERS: Final = (1, 2)
_HIDDEN: Final = 512
_WORKER: Final = "aws"
_TEXT: Final = {"a.txt": "the quick brown fox jumps over the lazy dog\n" * 200}
_VERSIONS: Final = 3
_MIB: Final = 2**20


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small models, no file")
    args = parser.parse_args()
    sizes, peaks = [], []
    print("parameters   link MiB   trainer MiB   evaluator MiB   at their peaks")
    for layers in _QUICK_LAYERS if args.quick else _LAYERS:
        with tempfile.TemporaryDirectory() as folder:
            num_parameters, *peak = _peaks(Path(folder) / "run", layers)
        link, trainer, evaluator = (num_bytes / _MIB for num_bytes in peak)
        print(f"{num_parameters:10}{link:11.0f}{trainer:14.0f}{evaluator:16.0f}", flush=True)
        sizes.append(num_parameters)
        peaks.append(peak)
    found: dict[str, float] = {}
    for i, name in enumerate(("link", "trainer", "evaluator")):
        slope = (peaks[1][i] - peaks[0][i]) / (sizes[1] - sizes[0])
        found[f"{name}_bytes_per_parameter"] = slope
        found[f"{name}_fixed_mib"] = (peaks[0][i] - slope * sizes[0]) / _MIB
    print(
        f"formula: link {LINK_BYTES}, trainer {TRAINER_BYTES}, evaluator {EVALUATOR_BYTES} bytes"
        " per parameter"
    )
    if args.quick:
        print("quick: models so small that the slopes say little; nothing is written")
    print("result", *(f"{k}={v:.2f}" for k, v in found.items()))
    if not args.quick:
        write_result("worker_memory", {**found, "parameters": sizes})
    return 0


def _peaks(folder: Path, layers: int) -> tuple[int, int, int, int]:
    """Return the model's parameters, and the peaks of link, trainer and evaluator in bytes."""
    model = {
        "model_type": "llama",
        "hidden_size": _HIDDEN,
        "intermediate_size": 4 * _HIDDEN,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "max_position_embeddings": 64,
    }
    run: dict[str, Any] = {
        "learner": "huggingface",
        "settings": {"model": model, "tokenizer": "bytes", "batch": 1, "sequence": 16},
        "algorithm": {"tier": "tls", "policy": "sync", "min_cohort": 1, "local_steps": 5},
        "stop": {"versions": _VERSIONS},
    }
    layout = Layout(FederationSpec(folder, "bench", (WorkerSpec(_WORKER, _TEXT),), _TEXT, run))
    layout.write()
    genesis = _command(
        layout, "genesis", "--config", layout.config("run"), "--out", layout.genesis.parent
    )
    if not genesis.wait(300) or genesis.exit_code:
        raise ProcessFailedError(genesis)
    num_parameters = load_genesis(layout.genesis).schema.parameter_values
    processes = [
        _command(layout, kind, "--config", layout.config(name))
        for kind, name in (
            (COORDINATOR, COORDINATOR),
            ("worker", _WORKER),
            (EVALUATOR, EVALUATOR),
        )
    ]
    leads, worker, measures = processes
    link = trainer = evaluator = 0
    try:
        while not worker.wait(0.1) or leads.exit_code is measures.exit_code is None:
            pid, *children = family_of(worker.pid)
            link = max(link, _peak(pid))
            trainer = max([trainer, *map(_peak, children)])
            evaluator = max(evaluator, _peak(measures.pid))
    finally:
        for process in processes:
            process.terminate()
            if not process.wait(20):
                process.kill()
    for process in (worker, measures):
        if process.exit_code:
            raise ProcessFailedError(process)
    return num_parameters, link, trainer, evaluator


def _peak(pid: int) -> int:
    try:
        return 1024 * memory_kib(pid, "VmHWM")
    except (AssertionError, OSError):  # it has ended meanwhile
        return 0


def _command(layout: Layout, *arguments: object) -> LocalProcess:
    name = str(arguments[0])
    command = own_command("crosscloud", *map(str, arguments))
    return LocalProcess(name, command, layout.log(name), own_path())


if __name__ == "__main__":
    sys.exit(main())
