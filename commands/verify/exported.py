"""Compares an exported model's weights with a version, tensor by tensor, bit for bit.

The learner is not built: names and shapes are in the genesis, so nothing of a folder is run. What a
learner writes in another form than float32 in `.safetensors` cannot be compared, and that is said.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import numpy as np

from common.arrays import F32, U32
from common.documents import Version
from common.errors import DamagedDataError
from common.foreign import foreign
from common.ids import Digest
from common.schema import SEGMENT, ModelSchema

WEIGHTS: Final = "*.safetensors"


def weight_files(folder: Path) -> list[Path]:
    """Return the files of a model's weights; a pipe or a device is none."""
    return [path for path in sorted(folder.glob(WEIGHTS)) if path.is_file()]


def model_complaint(
    paths: list[Path], schema: ModelSchema, version: Version, read: Callable[[Digest], bytes]
) -> str:
    """Return the first tensor that is not the version's; "" if all are.

    One tensor at a time is in memory.

    Args:
        read: returns a file of the version.

    Raises:
        DamagedDataError: a file of weights cannot be read.
    """
    from safetensors import safe_open  # a coordinator's installation has none

    places = {spec.name: (spec, at) for spec, at in schema.offsets()}
    left = dict(places)
    for path in paths:
        with foreign(str(path), DamagedDataError), safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 - no mapping
                if name not in places:
                    return f"{path}: {name} is no tensor of this run"
                if left.pop(name, None) is None:
                    return f"{path}: {name} stands twice"
                spec, at = places[name]
                form = file.get_slice(name)
                if (found := (form.get_dtype(), tuple(form.get_shape()))) != ("F32", spec.shape):
                    return f"{path}: {name} is {found}, in the run it is {('F32', spec.shape)}"
                values = file.get_tensor(name)
                if complaint := _complaint(values, at, version, read):
                    return f"{path}: {name} {complaint}"
    if left:
        return f"{next(iter(left))} and {len(left) - 1} other tensors of this run are not in it"
    return ""


def _complaint(found: F32, at: int, version: Version, read: Callable[[Digest], bytes]) -> str:
    bits, done = np.ascontiguousarray(found).reshape(-1).view("<u4"), 0
    for part in _values(at, at + len(bits), version, read):
        if (differ := np.flatnonzero(bits[done : done + len(part)] != part)).size:
            return f"differs from value {done + int(differ[0])} on"
        done += len(part)
    return ""


def _values(
    start: int, stop: int, version: Version, read: Callable[[Digest], bytes]
) -> Iterator[U32]:
    """Yield the bits of a version's values, uint32[n], segment by segment."""
    for i in range(start // SEGMENT, -(-stop // SEGMENT)):
        values = np.frombuffer(read(version.theta[i]), "<u4")
        yield values[max(start - i * SEGMENT, 0) : stop - i * SEGMENT]
