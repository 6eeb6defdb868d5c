"""How fast a worker goes: as the coordinator says, within the genesis' bounds.

Steps per contribution decide how much of a sum is one worker's. So a worker never takes fewer than
`min_local_steps` nor more than `local_steps` of them, whatever it is told. Whether it trains at all
is the coordinator's to say: a worker that pauses keeps the work that it has, offers it only once it
is enough, and what unequal work is left by that is bounded by `max_share` (rule 6).
"""

from common.documents import Algorithm


class OwnPace:
    """What a worker goes by; it begins as the genesis says.

    Args:
        algorithm: of the run.
    """

    def __init__(self, algorithm: Algorithm) -> None:
        self._most = algorithm.local_steps
        self._fewest = min(algorithm.min_local_steps, algorithm.local_steps)
        self._has_complained = False
        self.local_steps = self._most
        self.paused = False

    def told(self, local_steps: int, *, paused: bool) -> str:
        """Go as fast as told, within the bounds; return what is wrong with it, "" if nothing is.

        It complains once: a coordinator says its pace with every heartbeat.
        """
        self.local_steps = max(self._fewest, min(local_steps, self._most))
        self.paused = paused
        if self.local_steps == local_steps or self._has_complained:
            return ""
        self._has_complained = True
        return (
            f"told to take {local_steps} local steps per contribution; the genesis allows "
            f"{self._fewest} to {self._most}, so it takes {self.local_steps}: "
            "ask the coordinator's operator why"
        )
