"""What compression saves on the wire, and what it costs: sums, versions, uploads.

    python -m benchmarks.down [--quick]

The sums are those of real encoders on gaussian updates, scales fitted as in a run that goes on:
members that have nothing in common, and "alike" ones, any two of which correlate by a half. Each
file is compressed in parts of 1 MiB, as it is sent. Ratios are of compressed bytes to bytes, so
less is better; "entropy" is what no code of single values can beat. Speeds are of one core, in MB
of the file as it is.

A masked upload is uniform: it shows that nothing is gained there, and nothing learnt.
"""

import argparse
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import zstandard

from benchmarks.result import write_result
from common.arrays import F32
from common.codec.dense import Dense
from common.codec.noise import Noise
from common.packing import unpack as unpacked_values
from common.rotation import rotation_signs
from common.scales import round_scales
from common.schema import BLOCK
from services.wire.compression import PART_BYTES, Compressor, decompress

_TILE: Final = 16
_RADIUS: Final = 0.3

Compress = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class File:
    """What is sent.

    Args:
        entropy: of single values over their bits, where they are in a ring; 0 = not worked out.
    """

    name: str
    content: bytes
    entropy: float = 0.0


def files(num_blocks: int) -> Iterator[File]:
    """Yield what may be compressed, about `num_blocks` blocks of 4096 values of each."""
    for bits, num_members in ((8, 3), (8, 4), (8, 8), (4, 3), (4, 4), (16, 4)):
        for common in (0.0, 0.5):
            codec, payloads = uploads(bits, num_members, num_blocks, common)
            total = codec.total(num_blocks)
            for payload in payloads:
                total = codec.add(total, payload)
            ratio = entropy_bits(total) / bits
            alike = "_alike" if common else ""
            yield File(f"sum_{bits}_bits_of_{num_members}{alike}", codec.pack(total), ratio)
        single = payloads[0]
        ratio = entropy_bits(unpacked_values(single, bits)) / bits
        yield File(f"tls_upload_{bits}_bits_of_{num_members}", single, ratio)
    draw = np.random.default_rng(1)
    theta = (0.02 * draw.standard_normal(num_blocks * BLOCK, np.float32)).astype("<f4").tobytes()
    yield File("theta_float32", theta)
    yield File("theta_float32_planes", planes(theta))
    yield File("masked_upload_8_bits", draw.bytes(num_blocks * BLOCK), 1.0)


def uploads(
    bits: int, num_members: int, num_blocks: int, common: float
) -> tuple[Dense, list[bytes]]:
    """Return a codec, and one payload of each member.

    Args:
        common: correlation of any two members' updates, in [0, 1].
    """
    draw = np.random.default_rng(0)
    scales = round_scales(np.full(num_blocks, _RADIUS, np.float32), 1.0, num_members)
    codec = Dense(bits, num_members, 3.5, scales, rotation_signs(1))

    def gaussian() -> F32:
        return _RADIUS * draw.standard_normal((num_blocks, BLOCK), np.float32)

    shared = gaussian()
    payloads = []
    for member in range(num_members):
        y = np.float32(common**0.5) * shared + np.float32((1 - common) ** 0.5) * gaussian()
        encoder = codec.encoder(1.0, 0.9, Noise(member.to_bytes(16, "big")))
        payload = bytearray(y.size * bits // 8)
        for at in range(0, num_blocks, _TILE):
            tile = y[at : at + _TILE]
            num_bytes = tile.size * bits // 8
            start = at * BLOCK * bits // 8
            encoder.encode(at, tile.copy(), None, memoryview(payload)[start : start + num_bytes])
        payloads.append(bytes(payload))
    return codec, payloads


def entropy_bits(values: "np.typing.NDArray[np.generic]") -> float:
    """Return the entropy of single values, in bits."""
    shares = np.unique(values, return_counts=True)[1] / values.size
    return -float(np.sum(shares * np.log2(shares)))


def planes(floats: bytes) -> bytes:
    """Return float32 values part by part, first the lowest bytes of all, then the next."""
    parts = (floats[i : i + PART_BYTES] for i in range(0, len(floats), PART_BYTES))
    return b"".join(np.frombuffer(p, np.uint8).reshape(-1, 4).T.tobytes() for p in parts)


def deflate(level: int, strategy: int) -> Compress:
    """Return what compresses with zlib, without its header."""

    def compress(part: bytes) -> bytes:
        made = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
        return made.compress(part) + made.flush()

    return compress


def inflate(compressed: bytes) -> bytes:
    """Return what `deflate` compressed."""
    return zlib.decompress(compressed, -15)


WAYS: Final[dict[str, tuple[Compress, Compress]]] = {
    "zlib_huffman": (deflate(1, zlib.Z_HUFFMAN_ONLY), inflate),
    "zlib_6": (deflate(6, zlib.Z_DEFAULT_STRATEGY), inflate),
    "zstd_1": (Compressor().compress, lambda frame: decompress(frame, _size(frame))),
    "zstd_3": (
        zstandard.ZstdCompressor(level=3).compress,
        lambda frame: decompress(frame, _size(frame)),
    ),
}
"""zstd_1 is what the coordinator does (`services/wire/compression.py`)."""


def _size(frame: bytes) -> int:
    return zstandard.get_frame_parameters(frame).content_size


def measured(content: bytes, compress: Compress, undo: Compress) -> tuple[float, float, float]:
    """Return (ratio, compressing MB/s, decompressing MB/s)."""
    parts = [content[i : i + PART_BYTES] for i in range(0, len(content), PART_BYTES)]
    start_s = time.process_time()
    compressed = [compress(part) for part in parts]
    middle_s = time.process_time()
    assert [undo(p) for p in compressed] == parts
    end_s = time.process_time()
    megabytes = len(content) / 1e6
    pack_s, unpack_s = max(middle_s - start_s, 1e-6), max(end_s - middle_s, 1e-6)
    return sum(map(len, compressed)) / len(content), megabytes / pack_s, megabytes / unpack_s


def main() -> int:
    """Print the table and the result line; write the result unless it is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small files, no result file")
    quick = parser.parse_args().quick
    found: dict[str, float] = {}
    print("ratio, MB/s both ways                entropy", *(f"{way:>21}" for way in WAYS))
    for file in files(128 if quick else 1024):
        entropy = f"{file.entropy:8.3f}" if file.entropy else 8 * " "
        line = f"{file.name:36} {entropy}"
        for way, (pack, unpack_) in WAYS.items():
            ratio, pack_mbps, unpack_mbps = measured(file.content, pack, unpack_)
            line += f"{ratio:9.3f}{pack_mbps:6.0f} /{unpack_mbps:5.0f}"
            found[f"{file.name}_{way}_ratio"] = round(ratio, 4)
            found[f"{file.name}_{way}_pack_mb_per_s"] = round(pack_mbps)
            found[f"{file.name}_{way}_unpack_mb_per_s"] = round(unpack_mbps)
        print(line)
    if quick:
        print("quick: small files; nothing is written")
    else:
        write_result("down", found)
    sums = [f"sum_{bits}_bits_of_4{alike}" for bits in (8, 4) for alike in ("", "_alike")]
    keys = [f"{name}_zstd_1_ratio" for name in (*sums, "theta_float32", "masked_upload_8_bits")]
    print("result", *(f"{k}={found[k]:.3f}" for k in keys))
    return 0


if __name__ == "__main__":
    sys.exit(main())
