"""How much each member counts: one file per gain, and what all of them go through.

`numbers` refuses what no honest member says, `gains` names the gains, `staleness` damps old work,
`share` caps one member's part of a sum, and `weights` is the formula. A new gain is its file and
its line in `gains`.
"""

from typing import Final

ONE: Final = 65535
"""A weight of 1, on the wire."""
