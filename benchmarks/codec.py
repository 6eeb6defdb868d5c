"""How fast one core encodes an update, adds three up, and takes the step, by codec, and the parts.

    python -m benchmarks.codec

GB are 10**9 bytes of the model's float32, whatever lies on the wire; seconds are of this process's
CPU, pinned to one core; the best of several runs, since noise only adds; the file has medians,
too. (A busy neighbour still costs a third: it takes the shared cache and the way to the memory.)
Encoding reads everything twice: `measure` finds the lengths, then `shards` encodes; `encode` is
both. Peak memory is what an update's encoding allocates beside its input and the file that it
fills, in MiB: it grows with the model by 20 bytes per block of 4096 values alone. The step is
mostly SHA-256 of what it writes. All take turns, so that none finds its tile in the cache.
Files are in memory: the step hashes what it writes, but no disk is involved.
"""

import argparse
import os
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from statistics import median
from typing import Final, TypeVar

import numpy as np
from typing_extensions import override
from xxhash import xxh3_128_digest

from benchmarks.result import write_result
from common import canonical
from common.arrays import aligned
from common.chain import TILE, advance
from common.codec.loops import rotate
from common.codec.noise import Noise
from common.documents import Algorithm, Codec, Numbers
from common.ids import Digest, WorkerId
from common.packing import pack, ring_dtype, unpack
from common.rotation import rotate_exactly, rotation_signs
from common.schema import BLOCK, SEGMENT, ModelSchema, TensorSpec
from common.shards import SHARD_BYTES, ShardBytes
from coordinator.sums.aggregate import aggregate
from tests.rig.rounds.small_run import Blobs, Run
from worker.rounds.update import Lengths, Sources, measure, shards

Key = TypeVar("Key")

_CODECS: Final = {
    "4": Codec(bits=4, first_bits=4),
    "8": Codec(bits=8, first_bits=8),
    "12": Codec(bits=12, first_bits=12),
    "16": Codec(bits=16, first_bits=16),
    "float32": Codec("float32", 32, 32),
}
_KINDS: Final = ("measure", "encode", "add", "step")
_WORKERS: Final = tuple(WorkerId(w) for w in ("aws", "azure", "gcp"))
_NUMBERS: Final = Numbers(2000, 0.04, 0, 65535, 20, 20)
_KEY: Final = bytes(16)


class CodecRound:
    """One round of three on a model of whole segments, all in memory.

    Args:
        codec: of the run.
        num_segments: size of the model.
    """

    def __init__(self, codec: Codec, num_segments: int) -> None:
        algorithm, length = Algorithm(tier="tls", min_cohort=1, codec=codec), num_segments * SEGMENT
        schema = ModelSchema((TensorSpec("w", (length,)),))
        draw = np.random.default_rng(0)
        self._base = draw.standard_normal(length, np.float32)
        self._own = self._base + np.float32(0.3) * draw.standard_normal(length, np.float32)
        self._residual = np.float32(0.01) * draw.standard_normal(length, np.float32)
        self.gigabytes = 4e-9 * length
        self._run = Run(algorithm, schema, self._base, _WORKERS, (1, 1, 1), _Checked())
        self._plan, self._numbers = self._run.plan(), dict.fromkeys(_WORKERS, _NUMBERS)
        self._terms = self._run.terms(self._plan, self._numbers)
        self._work = Sources(
            lambda a, b: self._base[a:b],
            lambda a, b: self._own[a:b],
            lambda a, b: self._residual[a:b],
        )
        self._payload = bytearray(self._terms.layout.total_bytes)
        for i, shard in enumerate(self._shards()):
            self._payload[i * SHARD_BYTES : i * SHARD_BYTES + len(shard)] = shard
        self.add()

    def measure(self) -> Lengths:
        """Return the lengths of one member's update."""
        return measure(self._terms, self._work)

    def work(self, kind: str) -> Callable[[], object]:
        """Return what is measured under a name of `_KINDS`."""
        works: dict[str, Callable[[], object]] = {
            "measure": self.measure,
            "encode": self.encode,
            "add": self.add,
            "step": self.step,
        }
        return works[kind]

    def encode_peak_mib(self) -> float:
        """Return the most memory that `encode` allocates at once, by tracemalloc."""
        tracemalloc.start()
        self.encode()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes / 2**20

    def encode(self) -> None:
        """Encode one member's update, shard by shard."""
        for _ in self._shards():
            pass

    def _shards(self) -> Iterator[ShardBytes]:
        work, lengths = self._work, self.measure()
        return shards(self._terms, _WORKERS[0], work, lengths, lambda i, e: None, _KEY, 0)

    def add(self) -> None:
        """Add three such updates."""
        content = bytearray()
        payload = memoryview(bytes(self._payload))
        read = dict.fromkeys(_WORKERS, lambda at, n: bytes(payload[at : at + n]))
        side = aggregate(self._terms, read, content.extend)
        self._aggregate = memoryview(bytes(content))
        self._commit = self._run.commit_of(
            self._plan, self._numbers, _WORKERS, side, bytes(content)
        )

    def step(self) -> None:
        """Take the step of the commit."""
        advance(
            self._run.genesis,
            self._run.version,
            self._commit,
            lambda at, n: bytes(self._aggregate[at : at + n]),
            self._run.blobs.read,
            self._run.blobs.write,
        )


class _Checked(Blobs):
    """Files that are checked at each read, as the coordinator does."""

    def __init__(self) -> None:
        super().__init__()
        self._sums: dict[Digest, bytes] = {}

    @override
    def read(self, digest: Digest) -> bytes:
        content = super().read(digest)
        assert xxh3_128_digest(content) == self._sums[digest]
        return content

    @override
    def write(self, content: bytes) -> Digest:
        digest = super().write(content)
        self._sums[digest] = xxh3_128_digest(content)
        return digest


def parts() -> dict[str, Callable[[], object]]:
    """Return what the sums above are made of; each works on one tile."""
    draw = np.random.default_rng(0)
    x = aligned(TILE).reshape(-1, BLOCK)
    draw.standard_normal(dtype=np.float32, out=x)
    signs, noise = rotation_signs(1), Noise(_KEY)
    found: dict[str, Callable[[], object]] = {
        "rotate": lambda: rotate(x, signs),
        "noise": lambda: noise.uniform(0, TILE),
        "sha256": lambda: canonical.digest_of(x.tobytes()),
    }
    for bits in (4, 8, 12, 16):
        most = 2 ** (bits - 1)
        q = draw.integers(-most, most, TILE, np.int32).astype(ring_dtype(bits))
        content, blocks = pack(q, bits), q.reshape(-1, BLOCK)
        found |= {
            f"pack_{bits}": lambda q=q, b=bits: pack(q, b),  # type: ignore[misc]
            f"unpack_{bits}": lambda c=content, b=bits: unpack(c, b),  # type: ignore[misc]
            f"rotate_exactly_{bits}": lambda n=blocks, b=bits: rotate_exactly(n, b),  # type: ignore[misc]
        }
    return found


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, no file")
    quick = parser.parse_args().quick
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # numpy reads it when it is imported
        command = [sys.executable, "-m", "benchmarks.codec", *sys.argv[1:]]
        return subprocess.run(  # noqa: S603
            command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False
        ).returncode
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    num_segments, num_runs = (2, 2) if quick else (8, 15)
    rounds = {name: CodecRound(codec, num_segments) for name, codec in _CODECS.items()}
    works = {(kind, name): one.work(kind) for name, one in rounds.items() for kind in _KINDS}
    found: dict[str, float] = {}
    for (kind, name), taken_s in _times(works, num_runs).items():
        found[f"{kind}_gb_per_s_{name}"] = rounds[name].gigabytes / min(taken_s)
        found[f"{kind}_median_gb_per_s_{name}"] = rounds[name].gigabytes / median(taken_s)
    print("GB/s of one core     measure     encode  add three       step  encode's peak MiB")
    for name, one in rounds.items():
        found[f"encode_peak_mib_{name}"] = peak_mib = one.encode_peak_mib()
        speeds = (found[f"{kind}_gb_per_s_{name}"] for kind in _KINDS)
        print(f"{name:18}", *(f"{s:10.2f}" for s in speeds), f"{peak_mib:18.2f}")
    print("\npart, on one tile     GB/s")
    tile_s = _times(parts(), 20 * num_runs)
    tile_speeds = {name: 4e-9 * TILE / min(taken_s) for name, taken_s in tile_s.items()}
    for name, speed in tile_speeds.items():
        print(f"{name:18}{speed:8.2f}")
    keys = ("encode_gb_per_s_8", "encode_peak_mib_8", "add_gb_per_s_8", "step_gb_per_s_8")
    print("result", *(f"{k}={found[k]:.3f}" for k in keys))
    if not quick:
        write_result("codec", {**found, "parts_gb_per_s": tile_speeds})
    return 0


def _times(works: Mapping[Key, Callable[[], object]], num_runs: int) -> dict[Key, list[float]]:
    """Return the seconds of each; one after the other, so that a bad minute hits all alike."""
    times: dict[Key, list[float]] = {key: [] for key in works}
    for _ in range(num_runs):
        for key, work in works.items():
            start_s = time.process_time()
            work()
            times[key].append(max(time.process_time() - start_s, 1e-9))
    return times


if __name__ == "__main__":
    sys.exit(main())
