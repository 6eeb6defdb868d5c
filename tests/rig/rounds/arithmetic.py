"""docs/arithmetic.md a second time, as plainly as it stands there, for what a commit decides.

It shares no code with `common`: what travels, decoding, outer step and scales. Clipping is off.
Weights and a, which have tests of their own, are given.
"""

import hashlib
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BLOCK = 4096

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rules:
    """What of a run decides its arithmetic; names as in the page.

    Args:
        padding: bool[length]: values that belong to no tensor.
        parameters: length of the parameters' part.
        mu: 0 = sgd.
    """

    kind: str
    one_in: int
    m: float
    seed: int
    padding: npt.NDArray[np.bool_]
    parameters: int
    eta: float
    mu: float


@dataclass(frozen=True)
class State:
    """A version: float32[length], and per block float32[num_blocks]."""

    theta: F32
    momentum: F32
    acc: F32
    radius: F32
    phi: F32
    commits: int
    drift: F32

    def scales(self, rules: Rules) -> bytes:
        """Return the content of the version's scales."""
        with_drift = rules.kind in ("randk", "heavy")
        return self.radius.tobytes() + (self.drift.tobytes() if with_drift else b"")


def first(rules: Rules, theta: F32) -> State:
    """Return version 0."""
    num, zeros = len(theta) // BLOCK, np.zeros_like(theta)
    radius = np.full(num, 0.3, np.float32)
    if rules.kind == "cyclic":
        fragment = np.empty(num, np.float32)
        for f in range(rules.one_in):
            fragment[order(f"cyclic/{rules.seed}", num)[f :: rules.one_in]] = f
        radius = np.float32(0.3) * (np.float32(1) + fragment)
    ones = np.ones(num, np.float32)
    return State(theta, zeros, zeros, radius, np.zeros(num, np.float32), 0, ones)


def order(label: str, num: int) -> list[int]:
    stream = hashlib.shake_256(b"crosscloud/1/" + label.encode()).digest(8 * num)
    keys = [int.from_bytes(stream[8 * i : 8 * i + 8], "little") for i in range(num)]
    return sorted(range(num), key=lambda i: keys[i])


def sent(rules: Rules, at: State) -> list[int]:
    """Return the blocks that travel in a round on a version, ascending."""
    num, n, one_in = len(at.radius), at.commits, rules.one_in
    match rules.kind:
        case "cyclic":
            return sorted(order(f"cyclic/{rules.seed}", num)[n % one_in :: one_in])
        case "randk":
            return sorted(order(f"randk/{rules.seed}/{n}", num)[: max(1, num // one_in)])
        case "heavy":
            among_equals = order(f"heavy/{rules.seed}", num)
            heaviest = sorted(range(num), key=lambda b: (-at.radius[b], among_equals[b]))
            return sorted(heaviest[: max(1, num // one_in)])
    return list(range(num))


def growth(drift: F32) -> F64:
    """Return drift to the power of 3/4."""
    n = drift.astype(np.float64)
    return np.sqrt(n) * np.sqrt(np.sqrt(n))


def signs(rules: Rules) -> F64:
    """Return float64[BLOCK] of +1 and -1."""
    stream = hashlib.shake_256(b"crosscloud/1/signs/%d" % rules.seed).digest(BLOCK // 8)
    return np.array([-1.0 if stream[i // 8] >> i % 8 & 1 else 1.0 for i in range(BLOCK)])


def hadamard(x: F64) -> F64:
    """Return H . x of each row, by butterflies."""
    half = 1
    while half < BLOCK:
        pairs = x.reshape(-1, BLOCK // (2 * half), 2, half)
        a, b = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([a + b, a - b], axis=2).reshape(-1, BLOCK)
        half *= 2
    return x


def integers(content: bytes, bits: int) -> I64:
    """Return packed values, int64[num_blocks, BLOCK]."""
    each = np.unpackbits(np.frombuffer(content, np.uint8), bitorder="little").reshape(-1, bits)
    values = each.astype(np.int64) @ (1 << np.arange(bits))
    return (values - (values >= 2 ** (bits - 1)) * 2**bits).reshape(-1, BLOCK)


def sparse_bytes(one_in: int) -> int:
    return (one_in.bit_length() - 1 + 4) * (BLOCK // one_in) // 8 + 4


def sparse(content: bytes, one_in: int) -> F32:
    """Return one block of topk in units of r_B, float32[BLOCK]."""
    k, low = BLOCK // one_in, one_in.bit_length() - 1
    bits = np.unpackbits(np.frombuffer(content[:-4], np.uint8), bitorder="little").astype(int)
    lower, upper = bits[: low * k].reshape(k, low), bits[low * k : (low + 2) * k]
    negative, large = bits[(low + 2) * k : (low + 3) * k], bits[(low + 3) * k :]
    sizes = np.frombuffer(content[-4:], "<f2").astype(np.float32)
    found = np.zeros(BLOCK, np.float32)
    for i, place in enumerate(np.flatnonzero(upper)):
        at = (place - i << low) + sum(int(bit) << j for j, bit in enumerate(lower[i]))
        found[at] = (-1) ** negative[i] * sizes[0 if large[i] else 1]
    return found


def steps(rules: Rules, at: State, blocks: list[int], bits: int, members: int, a: float) -> F64:
    """Return step_B of some blocks."""
    top = (2 ** (bits - 1) - 1) // members
    m = rules.m if top > 2 else min(rules.m, 2.0)
    return m * (at.radius[blocks].astype(np.float64) * a) / top


def step(
    rules: Rules,
    at: State,
    content: bytes,
    *,
    bits: int,
    members: int,
    survivors: int,
    a: float,
    sum_v: int,
    share: float,
) -> State:
    """Return the version after a commit.

    Args:
        content: the aggregate.
        members: K.
        survivors: |S|.
        sum_v: of V.
    """
    blocks, num = sent(rules, at), len(at.radius)
    r = at.radius.astype(np.float64) * a
    match rules.kind:
        case "topk":
            size = sparse_bytes(rules.one_in)
            mean = np.zeros((num, BLOCK), np.float32)
            for i in range(num * survivors):
                one = sparse(content[i * size : (i + 1) * size], rules.one_in)
                mean[i // survivors] += one * np.float32(r[i // survivors])
            mean = mean * np.float32(65535 / sum_v)
            used = num * survivors * size
        case "float32":
            used = 4 * BLOCK * num
            values = np.frombuffer(content[:used], "<f4").reshape(-1, BLOCK)
            mean = values * np.float32(65535 / sum_v)
        case _:
            used = len(blocks) * BLOCK * bits // 8
            h = hadamard(integers(content[:used], bits).astype(np.float64)).astype(np.float32)
            h = np.where(h == 0, np.float32(0), h)
            factor = steps(rules, at, blocks, bits, members, a) * 65535 / (64 * sum_v)
            mean = (h * signs(rules).astype(np.float32)) * factor.astype(np.float32)[:, None]

    theta, momentum, acc, phi = (np.array(x) for x in (at.theta, at.momentum, at.acc, at.phi))
    for i, block in enumerate(blocks):
        v = slice(block * BLOCK, (block + 1) * BLOCK)
        one = np.where(rules.padding[v], np.float32(0), mean[i])
        if v.start >= rules.parameters:
            theta[v] = theta[v] - np.float32(share) * one
            phi[block] = np.float32(phi[block] + share)
            phi[block] = 0 if phi[block] >= 1 else phi[block]
            continue
        theta[v] = theta[v] - np.float32(rules.eta * share) * one
        if rules.mu == 0:
            continue
        acc[v] = acc[v] + np.float32(share) * one
        phi[block] = np.float32(np.float64(phi[block]) + share)
        if phi[block] >= 1:
            momentum[v] = np.float32(rules.mu) * momentum[v] + acc[v] / phi[block]
            theta[v] = theta[v] - np.float32(rules.eta * rules.mu) * momentum[v]
            acc[v], phi[block] = 0, 0

    z = np.frombuffer(content, "<u4", len(blocks), used).astype(np.float64)
    moved, drift = at.radius.astype(np.float64), at.drift + 1
    if rules.kind in ("randk", "heavy"):
        moved *= growth(drift) / growth(at.drift)
    told = r[blocks] * np.sqrt(z / (256 * survivors)) / a / growth(at.drift[blocks])
    told = np.minimum(np.maximum(told, 2.0**-20), 2.0**40).astype(np.float32)
    squares = [float(x) * float(x) for x in told if x > 2.0**-20]
    if rules.kind in ("randk", "heavy") and squares:
        usual = math.sqrt(math.fsum(squares) / len(squares))
        for block in range(num):
            if at.drift[block] == at.commits + 1:
                moved[block] = usual * growth(drift)[block]
    drift[blocks] = 1
    if rules.kind not in ("randk", "heavy"):
        drift = at.drift
    radius = np.minimum(np.maximum(moved, 2.0**-20), 2.0**40).astype(np.float32)
    radius[blocks] = told
    return State(theta, momentum, acc, radius, phi, at.commits + 1, drift)
