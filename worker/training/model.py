"""A learner's live tensors, seen as the flat padded float32 vector of `common/schema.py`.

Numpy arrays and torch tensors in CPU memory are shared, never copied; a tensor on another device is
copied slice by slice. Padding reads as zero and swallows what is written.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, cast

import numpy as np

from common.arrays import F32
from common.errors import ConfigError
from common.schema import ModelSchema, TensorSpec
from worker.training.learner import Learner, Tensor, as_numpy

if TYPE_CHECKING:
    import torch


def schema_of(learner: Learner) -> ModelSchema:
    """Return the layout of a learner's tensors.

    Raises:
        ConfigError: a tensor that no run can share; names it.
    """
    tensors = {**learner.parameters(), **learner.buffers()}
    if len(tensors) < len(learner.parameters()) + len(learner.buffers()):
        raise ConfigError("learner: a parameter and a buffer have the same name")
    seen: dict[int, str] = {}
    for name, tensor in tensors.items():
        flat = _flat(name, tensor)
        place = flat.ctypes.data if isinstance(flat, np.ndarray) else flat.data_ptr()
        if flat.shape[0] and seen.setdefault(place, name) != name:
            raise ConfigError(f"learner: {name!r} is {seen[place]!r} again; give tied weights once")
    return ModelSchema(
        parameters=tuple(TensorSpec(n, tuple(t.shape)) for n, t in learner.parameters().items()),
        buffers=tuple(TensorSpec(n, tuple(t.shape)) for n, t in learner.buffers().items()),
        constants={n: _fingerprint(t) for n, t in learner.constants().items()},
    )


class ParameterVector:
    """The flat vector of one learner; indices count float32 values, padding included."""

    def __init__(self, learner: Learner) -> None:
        self.schema = schema_of(learner)
        tensors = {**learner.parameters(), **learner.buffers()}
        self._spans = [
            _Span(at, at + spec.size, _flat(spec.name, tensors[spec.name]))
            for spec, at in self.schema.offsets()
        ]

    def read(self, start: int, stop: int, out: F32) -> F32:
        """Copy values [start, stop) into `out`, float32[stop - start], and return it."""
        out[:] = 0.0
        for part, window in self._parts(start, stop):
            out[window] = as_numpy(part)
        return out

    def write(self, start: int, values: F32) -> None:
        """Replace values from `start` on by `values`, float32[n]."""
        for part, window in self._parts(start, start + len(values)):
            _assign(part, values[window])

    def add(self, start: int, delta: F32) -> None:
        """Add `delta`, float32[n], to the values from `start` on."""
        for part, window in self._parts(start, start + len(delta)):
            if isinstance(part, np.ndarray):
                part += delta[window]
            else:
                _assign(part, as_numpy(part) + delta[window])

    def segments(self) -> Iterator[tuple[int, int, F32]]:
        """Yield (start, stop, values) of each segment; `values` is valid until the next one."""
        buffer = np.empty(max((b - a for a, b in self.schema.segments()), default=0), np.float32)
        for start, stop in self.schema.segments():
            yield start, stop, self.read(start, stop, buffer[: stop - start])

    def is_finite(self) -> bool:
        """Return whether no value is NaN or infinite."""
        return all(bool(np.isfinite(values).all()) for _, _, values in self.segments())

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Tensor, slice]]:
        """Yield each tensor's live values in [start, stop), and their place in that window."""
        if not 0 <= start <= stop <= self.schema.length:
            raise ValueError(
                f"[{start}, {stop}) is outside a vector of {self.schema.length} values"
            )
        for span in self._spans:
            a, b = max(start, span.start), min(stop, span.stop)
            if a < b:
                yield span.flat[a - span.start : b - span.start], slice(a - start, b - start)


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    stop: int
    flat: Tensor


def _flat(name: str, tensor: Tensor) -> Tensor:
    """Return a one-dimensional view that shares the tensor's memory."""
    if isinstance(tensor, np.ndarray):
        dtype, contiguous = str(tensor.dtype), tensor.flags.c_contiguous and tensor.flags.writeable
    else:
        dtype, contiguous = str(tensor.dtype).removeprefix("torch."), tensor.is_contiguous()
    if dtype != "float32":
        raise ConfigError(
            f"learner: {name!r} is {dtype}; parameters and buffers have to be float32"
        )
    if not contiguous:
        raise ConfigError(
            f"learner: {name!r} has to be writeable and contiguous, to be changed in place"
        )
    if isinstance(tensor, np.ndarray):
        return tensor.reshape(-1)
    flat = tensor.detach().view(-1)
    return cast("F32", flat.numpy()) if flat.device.type == "cpu" else flat


def _assign(part: Tensor, values: F32) -> None:
    if isinstance(part, np.ndarray):
        part[:] = values
    else:
        part.copy_(_torch_from(values))


def _torch_from(values: F32) -> "torch.Tensor":
    import torch

    return torch.from_numpy(values)


def _fingerprint(tensor: Tensor) -> str:
    """Return the SHA-256 of dtype, shape and little-endian values."""
    array = as_numpy(tensor)
    array = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    head = f"{array.dtype.str} {list(array.shape)} ".encode()
    return sha256(head + array.tobytes()).hexdigest()
