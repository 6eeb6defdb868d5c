"""Every error this system raises on purpose. One base per audience.

`ConfigError` is the operator's fault, `ProtocolError` the other side's, `StorageError` the disk's
or the store's, and anything else is ours. `services/wire/status.py` maps each class to one gRPC
status. A message says what was found, what was expected, and what to do about it.
"""

from common.ids import WorkerId


class CrosscloudError(Exception):
    """Base class; never raised itself."""


class ConfigError(CrosscloudError):
    """A setting, file or command is missing or wrong: the operator's fault, raised at start-up.

    Args:
        problems: a sentence each.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ProtocolError(CrosscloudError):
    """The other side sent something that the protocol does not allow now."""


class MalformedDocumentError(ProtocolError):
    """Bytes that are not the canonical encoding of the expected document."""


class UnexpectedMessageError(ProtocolError):
    """The message is not one that this phase expects."""


class NotFoundError(ProtocolError):
    """What was asked for is not here, or not any more."""


class UnknownRoundError(NotFoundError):
    """The message names a round that is over, or was never opened."""


class UnknownFileError(NotFoundError):
    """The file is not kept, or never was."""


class NotAMemberError(ProtocolError):
    """The sender is not admitted, or not in this cohort."""


class NotPermittedError(ProtocolError):
    """The sender's role may not do this."""


class IncompatibleError(ProtocolError):
    """The sender's protocol, model, run or arithmetic is not ours; it cannot join."""


class BadUpdateError(ProtocolError):
    """An update's bytes have the wrong size or index, or hold values that no update may hold.

    Args:
        worker: whose update it is, where that is known beside the sentence.
    """

    def __init__(self, sentence: str, worker: WorkerId | None = None) -> None:
        super().__init__(sentence)
        self.worker = worker


class BadNumbersError(BadUpdateError):
    """A member's numbers at close are not finite, not positive, or out of range."""


class BadCommitError(ProtocolError):
    """A commit record or its aggregate does not follow from its parent: it must not be adopted."""


class BadKeyError(ProtocolError):
    """A public key is malformed, of the wrong kind, or would give everybody the same secret."""


class BadShareError(ProtocolError):
    """Sealed shares do not open, or shares of a secret do not fit together."""


class BadSignatureError(ProtocolError):
    """A signature is not by the key that it should be by, or not of these bytes."""


class BusyError(CrosscloudError):
    """Too much at once: the same call may succeed in a moment.

    Args:
        retry_after_s: when to try again, about.
    """

    def __init__(self, sentence: str, retry_after_s: float = 1.0) -> None:
        super().__init__(sentence)
        self.retry_after_s = retry_after_s


class OutOfDescriptorsError(BusyError):
    """This process, or its machine, has as many files and connections open as it may."""


class StorageError(CrosscloudError):
    """The disk or the store failed; nothing that was acknowledged is lost."""


class DamagedDataError(StorageError):
    """Stored bytes do not match their digest."""


class StorageFullError(StorageError):
    """No space is left; the old version stays."""


class StorageRefusedError(StorageError):
    """The store answers and refuses, until its operator or a failover changes that."""


class StaleLeaderError(StorageError):
    """Another coordinator leads this run now, or the store went back in time."""


class BrokenUpdateError(CrosscloudError):
    """This worker's own update is NaN, infinite or absurdly long: the work must be discarded."""


class DivergedError(CrosscloudError):
    """A replay did not give the record's digest although the base is sound: tell a person."""


class ToldToEndError(BaseException):
    """SIGTERM, SIGHUP, Ctrl-C: this process is to end. No fault; no `except Exception` keeps it."""
