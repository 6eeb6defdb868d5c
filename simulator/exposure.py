"""What can be computed of one masked round by whoever holds all that its members ever sent.

Y_i is x_i under PRG(self_i) and one PRG(pair_ij) for each other j of U2. self_i follows from t
shares of b_i, pair_ij from t shares of the mask key of i or of j. All other streams are uniform and
independent, so a combination of uploads says something of the updates if and only if no unknown
stream is left in it: nobody has a part in it whose self_i is unknown, and i and j the same part
where pair_ij is unknown, that is, where both mask keys are. So there are two kinds of sums:

    one member alone                         its self and its mask key are both known;
    all of U2 whose mask keys are unknown    all of them have uploaded, and each self is known.

Colluders give away all that they hold: a share of each secret that was sealed for them, and their
own secrets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from common.ids import WorkerId

Group = frozenset[WorkerId]


@dataclass
class Exposure:
    """See the module docstring.

    Args:
        threshold: t.
        u2: whose answers the masks rest on; empty until they are known.
        answered: whose shares were sealed for the others.
        uploaded: of whom anything that is masked was sent.
        own: whose share of b_j was revealed, by j.
        mask: whose share of its mask key, likewise.
    """

    threshold: int
    u2: Group = frozenset()
    answered: set[WorkerId] = field(default_factory=set)
    uploaded: set[WorkerId] = field(default_factory=set)
    own: dict[WorkerId, set[WorkerId]] = field(default_factory=dict)
    mask: dict[WorkerId, set[WorkerId]] = field(default_factory=dict)

    def sums(self, colluders: Group) -> Iterator[Group]:
        """Yield each group of honest members whose updates' sum can be computed.

        Args:
            colluders: of the roster.
        """
        open_keys = {i for i in self.u2 if self._is_known(self.mask, i, colluders)}
        open_selves = {i for i in self.uploaded if self._is_known(self.own, i, colluders)}
        for i in sorted((open_selves & open_keys) - colluders):
            yield frozenset({i})
        closed_keys = self.u2 - open_keys
        if closed_keys and closed_keys <= open_selves:
            yield closed_keys

    def _is_known(
        self, shares: Mapping[WorkerId, set[WorkerId]], of: WorkerId, colluders: Group
    ) -> bool:
        held = colluders if of in self.answered else frozenset()
        return of in colluders or len(shares.get(of, set()) | held) >= self.threshold
