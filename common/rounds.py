"""The words of a round, each with its sentence: phases, rules, why it aborts or loses a member.

Values are stable: they are stored, stand in the log, and are labels of metrics. Which phase follows
which is the coordinator's affair (`coordinator/round.py`), what breaks a rule the worker's
(`worker/rounds/trust.py`).
"""

import enum
from typing import Final, Self


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


COMMIT: Final = "commit"
"""What is timed as if it were a phase: the end of `UNMASK`, the sum and its way to the disk."""


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


class LeaveReason(_Word):
    """Why a round goes on without a member of its plan."""

    REFUSED = "refused", "it refused, by a rule"
    LATE_ANSWER = "late_answer", "its answer was late"
    LATE_UPLOAD = "late_upload", "its upload was late"
    SILENT = "silent", "it was not heard for a lease"
    RESTARTED = "restarted", "it joined anew"
    DEPARTED = "departed", "it left"
    EXPELLED = "expelled", "it was taken off the member list"


class Rule(enum.IntEnum):
    """What a worker refuses: the numbers and words of docs/protocol.md, section 7.

    Each says also how an honest run may come to break it; "" = it cannot: whoever breaks it
    attacks, or is not this program. Those are `ATTACKED`, which an alert is for.
    """

    sentence: str
    honest: str

    def __new__(cls, number: int, sentence: str, honest: str = "") -> Self:
        """Make a rule."""
        made = int.__new__(cls, number)
        made._value_, made.sentence, made.honest = number, sentence, honest
        return made

    TERMS = (
        *(1, "a run or plan weaker than its own file"),
        "its operator asks for more than the run's settings give",
    )
    OFFER = (
        *(2, "a plan without its own open offer"),
        "a newer offer, or a Leave, was under way while the cohort closed",
    )
    ROSTER = (
        *(3, "a member that is not admitted, or stands twice"),
        "its pins, its clock or another member's certificate are out of date",
    )
    COHORT = (4, "too few members, or another threshold")
    HEAD = (
        *(5, "another base than the one that it stands on"),
        "words for the base are still under way, or it is still following the log",
    )
    SHARE = (
        *(6, "a member that is too much of a sum"),
        "members were lost, and of fewer each is more",
    )
    UNRESOLVED = (
        *(7, "a plan while its last round has no outcome"),
        "that outcome is still under way to it",
    )
    SEALED = (8, "keys or sealed shares that are none")
    MEMBERS = (9, "a U2 without its own answer, or a second one")
    REPEATED = (
        *(10, "to mask twice, or to reveal after a restart"),
        "it began again in mid-round; then it is silent, and sends no Refuse",
    )
    SURVIVORS = (11, "an S that cannot be, or a second one")
    SIGNATURES = (12, "an S other than U2 that too few signed")
    REVEAL = (13, "to reveal after its Abandon, or what it lacks")
    RECORD = (
        *(14, "a record that does not follow from the log"),
        "the coordinator's folder is damaged, or came back from an older backup; it ends then",
    )
    OWN_UPDATE = (
        *(15, "its own work, or numbers, out of range"),
        "training diverged, or its work is too old",
    )


ATTACKED: Final = tuple(rule for rule in Rule if not rule.honest)
"""Rules that no honest coordinator and no honest member breaks, whatever is lost or late: both know
the threshold's formula, seal and sign what others check, and never name two lists in a round."""
