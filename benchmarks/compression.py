"""How many bytes learning together needs: sparsification against quantisation, in one table.

    python -m benchmarks.compression [--jobs 2]        hours; what is interrupted goes on

Four workers train a small byte-level model on WikiText-2, each on articles of its own, in the
simulator (docs/simulation.md): real cores, codecs and training, virtual time. Every figure that is
claimed has five seeds, paired with those of (b); "within 1 %" is claimed only where the one-sided
95 % bound of the paired difference says so. Rows with one seed are exploratory.

    (a)  float32 FedAvg: the mean of the parameters replaces the model, each round
    (b)  float32 differences at the same schedule: what each codec is compared with
    (c)  pooled: all text in one place, batches of four workers, with and without the outer step

A new codec is one line in `ROWS`.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.compression_report import (
    FEWEST_SEEDS,
    Figures,
    as_document,
    figures,
    from_document,
    most_within,
    plot,
    table,
)
from benchmarks.result import RESULTS, write_result
from benchmarks.texts import SHARED, Texts, standard_library, wikitext
from common.canonical import Json
from common.documents import Algorithm, Codec, Outer, Schedule, Stop
from services.config.presets import PRESETS
from simulator.campaign import play
from simulator.experiment import Cloud, Learned, LearningRun

ROOT: Final = Path(__file__).parents[1]
PAGE: Final = ROOT / "docs" / "compression.md"
PICTURE: Final = ROOT / "docs" / "compression.svg"
_BEGIN, _END = "<!-- table: begin -->", "<!-- table: end -->"

WORKERS: Final = tuple(f"w{i}" for i in range(4))
LEARNER: Final = "huggingface"
OUTER: Final = Outer("nesterov", 0.6, 0.8)
FLOAT32: Final = Codec("float32", 32, 32, residual_decay=0.0)
WIKITEXT: Final = "WikiText-2"
LIBRARY: Final = "standard library"


@dataclass(frozen=True, slots=True)
class Size:
    """How large the experiment is.

    Args:
        steps: local steps per worker.
        glance_tokens: of the evaluations on the way.
        measured_tokens: of the last version's; 0 = the whole validation text.
    """

    hidden: int
    layers: int
    heads: int
    batch: int
    sequence: int
    steps: int
    peak: float
    glance_tokens: int
    measured_tokens: int = 0

    def settings(self, batches: int) -> dict[str, Json]:
        """Return the learner's settings, for batches of so many workers."""
        model = {
            "model_type": "gpt2",
            "n_embd": self.hidden,
            "n_layer": self.layers,
            "n_head": self.heads,
            "n_positions": self.sequence,
            "activation_function": "relu",
            **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        }
        batch = batches * self.batch
        return {"model": model, "tokenizer": "bytes", "batch": batch, "sequence": self.sequence}


FULL: Final = Size(96, 2, 3, batch=8, sequence=64, steps=1200, peak=4e-3, glance_tokens=16384)
QUICK: Final = Size(32, 1, 2, 4, 32, steps=60, peak=4e-3, glance_tokens=0, measured_tokens=4096)


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration.

    Args:
        local_steps: H.
        family: whose line in the plot it is on; "" = not in the plot.
        tier: privacy tier, the strictest that has its codec; "" where nothing is exchanged.
        claimed: five seeds; else one.
        pooled: all text in one place.
        compared: with the float32 row of the same text and H.
    """

    name: str
    local_steps: int
    codec: Codec
    family: str = ""
    tier: str = "masked"
    claimed: bool = False
    text: str = WIKITEXT
    outer: Outer = OUTER
    pooled: bool = False
    compared: bool = True

    @property
    def reference(self) -> str:
        """Name of the row that it is compared with, "" = none."""
        return _b(self.local_steps) if self.compared else ""

    def run(self, seed: int, size: Size, texts: Texts) -> LearningRun:
        """Return its run with a seed."""
        names = WORKERS[:1] if self.pooled else WORKERS
        validation: dict[str, Json] = {"validation": [str(texts.validation)]}
        shares = (
            [[str(p) for p in texts.shares]] if self.pooled else [[str(p)] for p in texts.shares]
        )
        versions = round(size.steps / self.local_steps)
        return LearningRun(
            seed=seed,
            learner=LEARNER,
            settings=size.settings(len(WORKERS) if self.pooled else 1),
            algorithm=self._algorithm(size, len(names)),
            stop=Stop(versions=versions),
            clouds=tuple(Cloud(n, {"train": s}) for n, s in zip(names, shares, strict=True)),
            measured={**validation, "validation_tokens": size.measured_tokens},
            glanced={**validation, "validation_tokens": size.glance_tokens},
            glance_every=max(1, versions // 8) if size.glance_tokens else 0,
        )

    def _algorithm(self, size: Size, num_workers: int) -> Algorithm:
        start = PRESETS["fedavg" if self.outer.kind == "sgd" else "diloco"].algorithm
        return replace(
            start,
            tier=self.tier or "tls",
            min_cohort=min(3, num_workers),
            max_cohort=num_workers,
            local_steps=self.local_steps,
            codec=self.codec,
            outer=self.outer,
            schedule=Schedule(peak=size.peak, warmup_steps=40, floor=0.1),
        )


def _b(local_steps: int) -> str:
    return f"(b) float32, H {local_steps}"


def _float32(local_steps: int, *, claimed: bool = False) -> Row:
    name = _b(local_steps)
    return Row(name, local_steps, FLOAT32, tier="tls", claimed=claimed, compared=False)


def _dense(bits: int, local_steps: int, *, decay: float = 0.0, claimed: bool = False) -> Row:
    """Return a row of which everything travels; `decay` is beta_e, 0 = as is usual for the ring."""
    usual = _DECAY_4 if bits == 4 else _DECAY
    codec = Codec(bits=bits, first_bits=max(bits, 8), residual_decay=decay or usual)
    beta = f", beta {decay}" if decay else ""
    name = f"{bits} bits, H {local_steps}{beta}"
    family = "quantisation" if codec.residual_decay == usual else ""
    return Row(name, local_steps, codec, family, claimed=claimed)


def _sparse(kind: str, one_in: int, bits: int, local_steps: int) -> Row:
    """Return a row of which only some blocks travel in each round."""
    decay = _DECAY_4 if bits == 4 else _DECAY
    codec = Codec(kind, bits, max(bits, 8), one_in, residual_decay=decay)
    name = f"{kind} 1 in {one_in}, {bits} bits, H {local_steps}"
    return Row(name, local_steps, codec, f"{kind}, {bits} bits")


def _topk(one_in: int, local_steps: int) -> Row:
    """Return a row of which the largest values of each block travel; it takes no momentum."""
    codec, name = Codec("topk", 2, 2, one_in, residual_decay=1.0), f"top 1 in {one_in}"
    return Row(f"{name}, H {local_steps}", local_steps, codec, "topk", "tls", outer=_PLAIN)


_DECAY: Final = 0.9
_DECAY_4: Final = 0.5
"""What 4 bits leave out is large, and outer momentum carries it on: more of it does harm."""

_PLAIN: Final = Outer("sgd", 1.0, 0.0)
_A: Final = replace(_float32(30, claimed=True), name="(a) FedAvg, H 30", outer=_PLAIN)
_C: Final = replace(_float32(30, claimed=True), name="(c) pooled, outer step", tier="", pooled=True)
ROWS: Final = (
    _A,
    _float32(30, claimed=True),
    _float32(50),
    _float32(60, claimed=True),
    _float32(100),
    replace(_C, name="(c) pooled", outer=_A.outer),
    _C,
    _dense(8, 30),
    _dense(4, 30, claimed=True),
    _dense(4, 60, claimed=True),
    _dense(4, 100),
    *(_dense(4, 50, decay=decay) for decay in (0.5, 0.7, 0.9, 1.0)),
    _sparse("cyclic", 2, 8, 30),
    _sparse("cyclic", 2, 4, 30),
    _sparse("cyclic", 3, 4, 30),
    _sparse("randk", 4, 4, 30),
    _sparse("heavy", 4, 4, 30),
    _topk(16, 30),
    _topk(32, 30),
    _topk(64, 30),
    *(
        replace(row, text=LIBRARY, claimed=False)
        for row in (_A, _float32(30), _dense(8, 30), _dense(4, 30))
    ),
)


def main() -> int:
    """Print the table and the result line; write results, page and plot unless it is partial."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny runs, two seeds, no file")
    parser.add_argument("--jobs", type=int, default=1, help="runs at once (default: 1)")
    parser.add_argument("--only", default="", help="rows with this in their name, no file")
    parser.add_argument("--steps", type=int, default=FULL.steps, help="per worker; others: no file")
    parser.add_argument("--seeds", type=int, default=FEWEST_SEEDS, help="of claimed rows")
    parser.add_argument("--data", type=Path, default=SHARED, help="folder of valid.txt, test.txt")
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "compression")
    parser.add_argument("--render", action="store_true", help="page and plot of the last result")
    args = parser.parse_args()
    if args.render:
        rows = from_document(json.loads((RESULTS / "compression.json").read_text())["rows"])
        _write_page(rows)
        return 0
    texts = _texts(args.data, args.folder / "text")
    if WIKITEXT not in texts and not args.quick:
        print(f"skipped: {args.data} does not hold test.txt and valid.txt of WikiText-2")
        return 0
    size, seeds = (QUICK, 2) if args.quick else (replace(FULL, steps=args.steps), args.seeds)
    wanted = _wanted(args.only, texts, quick=args.quick)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    found = _figures(wanted, size, seeds, texts, args.folder, args.jobs, console)
    print(table(found))
    best = {
        "masked_x_within_1pct": most_within(found, 0.01, ("masked",)),
        "tls_x_within_1pct": most_within(found, 0.01, ("masked", "tls")),
    }
    keys = {key: round(row.saving_per_step) if row else None for key, row in best.items()}
    is_whole = not args.only and seeds >= FEWEST_SEEDS and size == FULL
    partial = "quick" if args.quick else "" if is_whole else "partial"
    if partial:
        print(f"{partial}: no figure of this is a claim; nothing is written")
    print("result", *(f"{k}={'none' if v is None else v}" for k, v in keys.items()))
    if not partial:
        named = {f"{key}_row": row.name if row else None for key, row in best.items()}
        write_result("compression", {**keys, **named, "rows": as_document(found)})
        _write_page(found)
    return 0


def _texts(data: Path, out: Path) -> dict[str, Texts]:
    """Return the texts that are there, by name."""
    texts = {LIBRARY: standard_library(out / "library", len(WORKERS))}
    if (data / "test.txt").is_file() and (data / "valid.txt").is_file():
        texts[WIKITEXT] = wikitext(data, out / "wikitext", len(WORKERS))
    return texts


def _wanted(only: str, texts: Mapping[str, Texts], *, quick: bool) -> list[Row]:
    """Return the rows to play: with each the one that it is compared with."""
    named = [r for r in ROWS if only in r.name and r.text in texts]
    if quick:
        named = [r for r in named if r.local_steps == 30]
    needed = {(r.text, r.reference) for r in named}
    return [r for r in ROWS if r in named or (r.text, r.name) in needed]


def _figures(
    rows: Sequence[Row],
    size: Size,
    num_seeds: int,
    texts: Mapping[str, Texts],
    folder: Path,
    jobs: int,
    console: Console,
) -> list[Figures]:
    runs = {
        f"{r.text}: {r.name}, seed {s}": r.run(s, size, texts[r.text])
        for r in rows
        for s in range(1, (num_seeds if r.claimed else 1) + 1)
    }
    results = play(runs, folder, jobs=jobs, console=console)
    learned: dict[tuple[str, str], dict[int, Learned]] = {}
    for r in rows:
        names = {s: f"{r.text}: {r.name}, seed {s}" for s in range(1, num_seeds + 1)}
        learned[r.text, r.name] = {s: results[n] for s, n in names.items() if n in results}
    return [
        figures(
            r.name,
            r.family,
            r.text,
            r.tier,
            r.local_steps,
            learned[r.text, r.name],
            (r.reference, learned[r.text, r.reference]) if r.reference else None,
        )
        for r in rows
    ]


def _write_page(rows: Sequence[Figures]) -> None:
    """Put table and plot where the page has them."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(f"{before}{_BEGIN}\n{table(rows)}\n{_END}{after}", encoding="utf-8")
    references = [r for r in rows if r.text == WIKITEXT and r.name == _b(r.local_steps)]
    PICTURE.write_text(plot(rows, references, WIKITEXT), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
