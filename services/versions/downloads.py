"""Logs how a whole version's download goes: to a newcomer that is a long time.

A version's document comes before its files and names them all. Each file is small beside a version,
so a line is due whenever one has come. An aggregate is one file, as long as an upload.
"""

from collections.abc import Callable
from typing import Final

from common import canonical
from common.documents import Genesis, Version
from common.errors import MalformedDocumentError
from common.ids import Digest
from services.disk.data_store import DataStore
from services.observe.progress import BYTES, ShownProgress
from worker.rounds.catch_up import version_bytes

EVERY_S: Final = 10.0


class Downloads:
    """See the module docstring.

    Args:
        say: writes a line to the log.
        now_s: monotonic clock.
    """

    def __init__(
        self, genesis: Genesis, say: Callable[[str], None], now_s: Callable[[], float]
    ) -> None:
        self._genesis = genesis
        self._say = say
        self._now_s = now_s
        self._version: dict[Digest, ShownProgress] = {}
        self._due_s = 0.0

    def came(self, digest: Digest, kind: str, store: DataStore) -> None:
        """A file is in `store`; say how far its version is, every ten seconds.

        A document that is only compared with others says nothing.
        """
        if kind != "version":
            return
        progress = self._version.pop(digest, None)
        if progress is None:
            self._begin(digest, store)
            return
        progress.advance(store.size(digest))
        if not progress.before:  # the pace counts from here: other documents came before, perhaps
            progress.before, progress.began_s = progress.done, self._now_s()
            self._due_s = self._now_s() + EVERY_S
        if self._now_s() >= self._due_s:
            self._due_s = self._now_s() + EVERY_S
            self._say(progress.line(self._now_s()))

    def _begin(self, digest: Digest, store: DataStore) -> None:
        try:
            version = canonical.decode(store.read(digest), Version)
        except MalformedDocumentError:  # a segment that healed, say
            return
        total = version_bytes(self._genesis, version, store.has)
        progress = ShownProgress("files of the version", total, BYTES, self._now_s())
        missing = (blob for blob in version.blobs() if not store.has(blob))
        self._version = self._version | dict.fromkeys(missing, progress)
