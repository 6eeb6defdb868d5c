"""What the demo trains: small enough for four workers on two cores, large enough to learn.

Measured on two cores without AVX-512: a step of 12 x 128 bytes takes 70 ms on one thread, and 500
steps of one process on all the text reach 1.81 nats on the held-out files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from commands.demo.layout import FederationSpec, WorkerSpec
from common.canonical import Json
from common.documents import Schedule
from worker.training.demo_text import stdlib_shares

WORKERS: Final = ("aws", "gcp", "azure", "onprem")
SEED: Final = 1
LEARNER: Final = "huggingface"
SETTINGS: Final[Mapping[str, Json]] = {
    "model": {
        "model_type": "llama",
        "hidden_size": 96,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 3,
        "max_position_embeddings": 256,
        "tie_word_embeddings": True,
    },
    "tokenizer": "bytes",
    "batch": 12,
    "sequence": 128,
    "betas": [0.9, 0.95],
    "weight_decay": 0.1,
    "clip": 1.0,
}
SCHEDULE: Final = Schedule(peak=2e-3, warmup_steps=40, floor=0.1)
VALIDATION_TOKENS: Final = 16384
"""The evaluator shares the cores: half a second for each version."""
_SLOWDOWNS: Final = {"onprem": 3.0}
_TIMINGS: Final = {"heartbeat_s": 0.5, "upload_timeout_s": 60.0, "first_grace_s": 2.0}


def demo_spec(
    folder: Path,
    seconds: float,
    workers: Sequence[str] = WORKERS,
    max_steps_per_s: float = 0.0,
) -> FederationSpec:
    """Return the demo's federation.

    Args:
        seconds: length of the run.
        workers: names of the clouds; "onprem" is slowed three times.
        max_steps_per_s: pace of every worker, before it is slowed; 0 = as fast as it can.
    """
    texts = stdlib_shares(len(workers))
    return FederationSpec(
        folder=folder,
        name=folder.name,
        workers=tuple(
            WorkerSpec(
                name, share, slowdown=_SLOWDOWNS.get(name, 1.0), max_steps_per_s=max_steps_per_s
            )
            for name, share in zip(workers, texts.shares, strict=True)
        ),
        validation=texts.validation,
        run={
            "seed": SEED,
            "learner": LEARNER,
            "settings": dict(SETTINGS),
            "algorithm": {"schedule": asdict(SCHEDULE)},
            "stop": {"hours": seconds / 3600},
        },
        data={"validation_tokens": VALIDATION_TOKENS},
        timings=_TIMINGS,
    )
