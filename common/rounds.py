"""The phases of a round and the reasons for which one aborts, each with its sentence.

Values are stable: they are stored, stand in the log, and are labels of metrics. Which phase follows
which is the coordinator's affair (`coordinator/phases.py`).
"""

import enum
from typing import Self


class _Word(enum.Enum):
    """A value for programs, and a sentence for people."""

    sentence: str

    def __new__(cls, value: str, sentence: str = "") -> Self:
        """Make a member of both."""
        made = object.__new__(cls)
        made._value_, made.sentence = value, sentence
        return made


class Phase(_Word):
    """Where a round is; `crosscloud report` holds the same sentences."""

    COLLECTING_OFFERS = "collecting_offers", "no round is open: workers offer their updates"
    SHARE_KEYS = "share_keys", "members answer with their numbers; masked: and share their keys"
    COLLECT_MASKED = "collect_masked", "members encode and upload their updates"
    UNMASK = "unmask", "masked: survivors reveal what takes the masks off the sum"
    ENDING = "ending", "a round that failed: members say that they will reveal nothing"
    COMMITTED = "committed", "the sum is a version"
    ABORTED = "aborted", "the round ended without one"

    @property
    def is_over(self) -> bool:
        """Whether the round is; a run is in one of the other phases."""
        return self in (Phase.COMMITTED, Phase.ABORTED)


class AbortReason(_Word):
    """Why a round gave up; docs/operations.md, section 7, says what to do about it."""

    BELOW_THRESHOLD = "below_threshold", "too few members left"
    BAD_UPDATE = "bad_update", "an upload or the sum broke a rule"
    BAD_SHARES = "bad_shares", "what survivors revealed does not fit what the members committed to"
    DAMAGED_SHARD = "damaged_shard", "stored bytes are not those that arrived"
    STORAGE_FULL = "storage_full", "no room for the next version; the old one stays"
    STORAGE_FAILED = "storage_failed", "the disk said no"
    COORDINATOR_RESTARTED = "coordinator_restarted", "a new coordinator ended the old one's round"
    STOPPED = "stopped", "a second `stop`"
