"""What masking costs: beside bare key streams, in the making of an upload, and in a whole round.

    python -m benchmarks.secagg

The first two are of one core, and one update of 100 million parameters, shard by shard, so nothing
of the model's size is ever held. Seconds are of this process's CPU there, so that a busy machine
measures nearly the same; medians over several updates.

    bare     AES-128-CTR expand and add of the same bytes: K streams, same tile, nothing else
    mask     `Masks.add` on the ring words of the same shards, right after `bare`
    tags     both tags of the same shards
    upload   rotate, quantise, tags, mask, pack: from float32 differences to bytes to send; and the
             most memory that it allocates at once, two shards among it

Their ratios are speeds: 1 = as fast as bare. GB are 10**9 bytes of the model's float32.

    round    four workers, 25 million parameters at 8 bits: `benchmarks/masked_round.py`

Its seconds are on the wall, all processes sharing this machine; its ratio is of times, the median
over neighbours: 1 = as long as a round of the tls tier.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from benchmarks.masked_round import PHASES, TierTimes, round_times
from benchmarks.result import write_result
from common.arrays import F32
from common.chain import TILE
from common.codec.dense import Dense
from common.codec.noise import Noise
from common.ids import WorkerId
from common.keystream import TILE_BYTES
from common.rotation import rotation_signs
from common.scales import round_scales
from common.schema import BLOCK
from common.secagg.masks import Masks, member_masks
from common.secagg.ring import Ring
from common.secagg.streams import SEED_BYTES
from common.secagg.tags import Pads, Tagger
from common.shards import PayloadLayout
from worker.rounds.masked_shards import masked_shards

_PARAMETERS: Final = 100_000_000
_ROUND_PARAMETERS: Final = 25_000_000
_PEAK_PARAMETERS: Final = 8_000_000
_FLOWER_S: Final = 61
_COHORTS: Final = (4, 8, 16)
_BITS: Final = (4, 8, 12, 16, 32)
_TAG_BYTES: Final = 16  # per shard: two of 64 bits
_SELF: Final = bytes(SEED_BYTES)


class Bare:
    """K streams expanded and added in the plainest way: what masking cannot beat."""

    def __init__(self, num_streams: int) -> None:
        self._streams = [
            Cipher(algorithms.AES(bytes([i] * 16)), modes.CTR(bytes(16))).encryptor()
            for i in range(num_streams)
        ]
        self._zeros, self._tile = bytes(TILE_BYTES), np.empty(TILE_BYTES, np.uint8)

    def add(self, content: np.ndarray) -> None:
        """Add to uint8[n], a multiple of 8."""
        for start in range(0, len(content), TILE_BYTES):
            part = content[start : start + TILE_BYTES].view(np.uint64)
            tile = self._tile[: part.nbytes]
            for stream in self._streams:
                stream.update_into(self._zeros[: len(tile)], tile.data)
                part += tile.view(np.uint64)


def names(num_members: int) -> list[WorkerId]:
    """Return the cohort."""
    return [WorkerId(f"cloud-{i:02}") for i in range(num_members)]


def masks_of_one(bits: int, num_members: int) -> Masks:
    """Return the masks of the member in the middle, so that both signs occur."""
    cohort = names(num_members)
    own = cohort[num_members // 2]
    pairs = {n: bytes([i + 1] * SEED_BYTES) for i, n in enumerate(cohort) if n != own}
    return member_masks(Ring(bits), own, _SELF, pairs)


def masking(bits: int, num_members: int, num_parameters: int) -> tuple[float, float]:
    """Return CPU seconds of one update: bare, mask."""
    layout = PayloadLayout(_whole(num_parameters), bits)
    bare, masks, ring = Bare(num_members), masks_of_one(bits, num_members), Ring(bits)
    bare_s = mask_s = 0.0
    offset, length = layout.shard(0)
    content, words = np.zeros(length, np.uint8), ring.empty_sum(length)
    while offset < layout.data_bytes:
        length = min(length, layout.data_bytes - offset)
        num_words = ring.stream_offset(length) // ring.word.itemsize
        start_s = time.process_time()
        bare.add(content[:length])
        middle_s = time.process_time()
        masks.add(words[:num_words], offset)
        bare_s += middle_s - start_s
        mask_s += time.process_time() - middle_s
        offset += length
    return bare_s, mask_s


def tagging(bits: int, num_parameters: int) -> float:
    """Return CPU seconds for both tags of one update."""
    layout = PayloadLayout(_whole(num_parameters), bits)
    tagger = Tagger(layout, [_SELF, bytes([1] * SEED_BYTES)])
    content = np.random.default_rng(0).bytes(layout.shard(0)[1])
    start_s = time.process_time()
    for shard in range(-(-layout.data_bytes // len(content))):
        tagger.tags(shard, content[: layout.shard(shard)[1]])
    return time.process_time() - start_s


class UploadMaker:
    """The making of one member's data shards, from float32 differences to bytes to send."""

    def __init__(self, bits: int, num_members: int, num_parameters: int) -> None:
        self.layout = PayloadLayout(_whole(num_parameters), bits, masked=True)
        self._num_members = num_members
        scales = round_scales(np.ones(self.layout.num_blocks, np.float32), 1.0, num_members)
        self._codec = Dense(bits, num_members, 3.5, scales, rotation_signs(1))
        draw = np.random.default_rng(0)
        self._values: F32 = draw.standard_normal((TILE // BLOCK, BLOCK), np.float32)
        self._carried: F32 = np.float32(0.01) * self._values
        self._difference = np.empty_like(self._values)
        self._setup_s = 0.0

    def make(self) -> float:
        """Return the CPU seconds that it took; making up the differences is not counted."""
        cohort, kappa = names(self._num_members), bytes([1] * SEED_BYTES)
        own = cohort[self._num_members // 2]
        masks = masks_of_one(self.layout.bits, self._num_members)
        tagger, pads = Tagger(self.layout, [_SELF, kappa]), Pads(kappa, cohort)
        self._setup_s, start_s = 0.0, time.process_time()
        for _ in masked_shards(self.layout, self._data_shards(), own, masks, tagger, pads):
            pass
        return time.process_time() - start_s - self._setup_s

    def peak_mib(self) -> float:
        """Return the most memory that `make` allocates at once, by tracemalloc."""
        tracemalloc.start()
        self.make()
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes / 2**20

    def _data_shards(self) -> Iterator[bytearray]:
        bits = self.layout.bits
        encoder = self._codec.encoder(factor=1.0, decay=0.9, noise=Noise(bytes(16)))
        for shard in range(self.layout.num_data_shards):
            offset, length = self.layout.shard(shard)
            first = offset * 8 // bits // BLOCK
            end = first + length * 8 // bits // BLOCK
            payload = bytearray(length)
            view = memoryview(payload)
            for block in range(first, end, TILE // BLOCK):
                num = min(TILE // BLOCK, end - block)
                start_s = time.process_time()
                difference = self._difference[:num]
                np.copyto(difference, self._values[:num])
                self._setup_s += time.process_time() - start_s
                at, stop = ((b - first) * BLOCK * bits // 8 for b in (block, block + num))
                encoder.encode(block, difference, self._carried[:num], view[at:stop])
            yield payload


def main() -> int:
    """Print the tables and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, no file")
    quick = parser.parse_args().quick
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":  # numpy reads it when it is imported
        command = [sys.executable, "-m", "benchmarks.secagg", *sys.argv[1:]]
        return subprocess.run(  # noqa: S603
            command, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=False
        ).returncode
    num, repeats = (4_000_000, 3) if quick else (_PARAMETERS, 5)
    round_num, num_pairs, num_before = (4_000_000, 1, 0) if quick else (_ROUND_PARAMETERS, 21, 1)
    if quick:
        print(f"quick: {num} parameters instead of {_PARAMETERS}; nothing is written")
        print(f"quick: one cold round of {round_num}, not several of {_ROUND_PARAMETERS}")
    masking(8, 4, 2_000_000)
    found: dict[str, float] = {"parameters": num}
    print("bits    K   ns per parameter: bare    mask   ratio to bare")
    for bits, members in [(b, 4) for b in _BITS] + [(8, k) for k in _COHORTS[1:]]:
        runs = [masking(bits, members, num) for _ in range(repeats)]
        bare, mask = (median(column) / num * 1e9 for column in zip(*runs, strict=True))
        ratio = median(b / m for b, m in runs)
        print(f"{bits:4} {members:4} {bare:22.3f} {mask:7.3f} {ratio:15.2f}")
        key = f"{bits}bit_k{members}"
        found |= {f"ns_per_param_mask_{key}": mask, f"ratio_to_bare_{key}": ratio}
    found["ratio_to_bare"] = min(found[f"ratio_to_bare_8bit_k{k}"] for k in _COHORTS)
    found["ns_per_param_mask"] = found["ns_per_param_mask_8bit_k8"]
    print("\nbits    GB/s: both tags   upload of 4   peak MiB")
    for bits in _BITS:
        tags = 4e-9 * num / median(tagging(bits, num) for _ in range(repeats))
        found[f"tags_gbps_{bits}bit"] = tags
        row = f"{bits:4} {tags:17.2f}"
        if bits <= 16:
            upload = UploadMaker(bits, 4, num)
            found[f"encode_gbps_{bits}bit"] = (
                4e-9 * num / median(upload.make() for _ in range(min(repeats, 3)))
            )
            found[f"encode_peak_mib_{bits}bit"] = UploadMaker(bits, 4, _PEAK_PARAMETERS).peak_mib()
            row += f" {found[f'encode_gbps_{bits}bit']:13.2f}"
            row += f" {found[f'encode_peak_mib_{bits}bit']:10.2f}"
        print(row)
    found["encode_gbps"] = found["encode_gbps_8bit"]
    layout = PayloadLayout(_whole(_PARAMETERS), 8)
    sent = layout.sent_bytes + _TAG_BYTES * layout.num_shards
    found["bytes_per_param_8bit"] = sent / _PARAMETERS
    with tempfile.TemporaryDirectory() as folder:
        rounds = round_times(Path(folder), round_num, num_pairs, num_before)
    _print_rounds(rounds, round_num)
    found["round_ratio_to_tls"] = median(rounds.ratios)
    for tier, total_s in rounds.total_s.items():
        found[f"round_s_{tier}"] = total_s
        found |= {f"round_{p}_s_{tier}": s for p, s in rounds.phase_s[tier].items()}
    keys = (
        *("ratio_to_bare", "ns_per_param_mask", "encode_gbps", "round_ratio_to_tls"),
        "bytes_per_param_8bit",
    )
    print("result", *(f"{k}={found[k]:.4f}" for k in keys))
    if not quick:
        more = {"round_parameters": round_num, "round_ratios_to_tls": rounds.ratios}
        write_result("secagg", {**found, **more})
    return 0


def _print_rounds(rounds: TierTimes, num_parameters: int) -> None:
    print(f"\nround of 4, {4e-6 * num_parameters:.0f} MB of float32 at 8 bits, median seconds")
    print("         ", *(f"{phase:>8}" for phase in PHASES.values()), " Plan to record")
    for tier, total_s in rounds.total_s.items():
        row = (f"{rounds.phase_s[tier][phase]:8.2f}" for phase in PHASES.values())
        print(f"{tier:9}", *row, f"{total_s:15.2f}")
    print(f"{'Flower':9} {_FLOWER_S:51.2f} three members; measured elsewhere, not by this script")
    low, high = rounds.ratios[0], rounds.ratios[-1]
    print(f"masked / tls: {median(rounds.ratios):.3f} ({low:.3f} to {high:.3f})")


def _whole(num_parameters: int) -> int:
    return -(-num_parameters // BLOCK) * BLOCK


if __name__ == "__main__":
    sys.exit(main())
