"""How much old work counts: each worker's own s(tau), which travels as an integer.

So it may use pow, as nothing that all have to agree on does.
"""

from common.documents import Algorithm
from common.errors import ConfigError
from common.weight import ONE


def staleness_65535(age_256: int, algorithm: Algorithm) -> int:
    """Return s(tau) in 1/65535, at least 1.

    poly: (1 + tau)**-a. hinge: 1 up to tau_max/2, then 1/(1 + a*(tau - tau_max/2)). constant: 1.

    Args:
        age_256: tau in 1/256 commits.
        algorithm: says which, and a.
    """
    tau, a = age_256 / 256, algorithm.staleness_exponent
    match algorithm.staleness:
        case "poly":
            s = float((1 + tau) ** -a)
        case "hinge":
            s = 1 / (1 + a * max(0.0, tau - algorithm.max_staleness / 2))
        case "constant":
            s = 1.0
        case other:
            raise ConfigError(f"staleness is {other!r}, must be poly, hinge or constant")
    return min(ONE, max(1, round(ONE * s)))
