"""Watches this process's own certificate: a server whose certificate ends is refused by callers.

Only their logs would name it; so the log of the process whose certificate it is says so too.
"""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class OwnCertificate:
    """Says when the certificate is fit no longer, and when it is again: once each.

    Args:
        fault: what is wrong with it by now; "" = nothing.
    """

    def __init__(self, fault: Callable[[], str]) -> None:
        self._fault = fault
        self._seen = self._said = ""

    def look(self) -> None:
        """Look, and say what is new. What one look alone sees may be files half replaced."""
        before, self._seen = self._seen, self._fault()
        if before != self._seen or self._seen == self._said:
            return
        self._said = self._seen
        if self._said:
            log.error("no new connection is accepted by its caller: %s", self._said)
        else:
            log.info("this process's certificate is fit again")
