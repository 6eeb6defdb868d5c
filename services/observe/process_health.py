"""What a process tells of itself beside memory and time: its certificate's end, its disk's room.

Read anew at each scrape, so that a renewed certificate shows at once. What cannot be read (a file
half copied, a folder that is gone) has no series at that scrape.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from common.errors import BadKeyError
from common.foreign import foreign
from services.config.settings import TlsSettings

Sample = tuple[str, float, tuple[str, ...]]
"""Name of a family of `services/observe/metrics/health.py`, value, labels."""


def process_health(tls: TlsSettings, folder: Path) -> Callable[[], Iterator[Sample]]:
    """Return what `services.observe.metrics.health.add_health` asks at each scrape.

    Args:
        tls: this process's certificate, and the authority that it trusts.
        folder: in which the process keeps what lasts.
    """

    def read() -> Iterator[Sample]:
        for label, path in (("certificate", tls.certificate), ("ca", tls.ca)):
            if (end_s := _not_after_s(path)) is not None:
                yield "certificate_not_after_timestamp_seconds", end_s, (label,)
        try:
            disk = os.statvfs(folder)
        except OSError:
            return
        yield "disk_free_bytes", disk.f_bavail * disk.f_frsize, ()
        yield "disk_size_bytes", disk.f_blocks * disk.f_frsize, ()

    return read


def _not_after_s(path: Path) -> float | None:
    try:
        content = path.read_bytes()
        with foreign(str(path)):
            return x509.load_pem_x509_certificate(content).not_valid_after_utc.timestamp()
    except (OSError, BadKeyError):
        return None
