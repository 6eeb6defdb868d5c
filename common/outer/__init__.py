"""The outer optimisers, each a file and its line here; which of them a run has is `outer.kind`.

Nothing in this folder may become a reduction, a matrix product, a fused operation or a call into
torch: every replica must get the same bits. Scalars are float64, rounded to float32 once.
"""

from collections.abc import Mapping
from typing import Final

from common.documents import Outer
from common.errors import ConfigError
from common.outer.nesterov import Nesterov
from common.outer.optimiser import OuterOptimiser
from common.outer.sgd import Sgd
from common.schema import ModelSchema

OPTIMISERS: Final[Mapping[str, type[OuterOptimiser]]] = {
    "sgd": Sgd,
    "nesterov": Nesterov,
}
"""By name: the words of `outer.kind`."""


def optimiser_of(outer: Outer) -> type[OuterOptimiser]:
    """Return a run's outer optimiser.

    Raises:
        ConfigError: there is none of this name.
    """
    if outer.kind not in OPTIMISERS:
        raise ConfigError(f"outer optimiser is {outer.kind!r}, must be {' or '.join(OPTIMISERS)}")
    return OPTIMISERS[outer.kind]


def state_lengths(outer: Outer, schema: ModelSchema) -> dict[str, int]:
    """Return what `Version.state` holds beside theta: each name, and how many float32 it has.

    Raises:
        ConfigError: there is no such optimiser.
    """
    optimiser = optimiser_of(outer)
    vectors = dict.fromkeys(optimiser.vectors, schema.length)
    return vectors | dict.fromkeys(optimiser.per_block, schema.num_blocks)
