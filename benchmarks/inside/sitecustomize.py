"""What a process holds, told from inside: any Python process that finds this file at its start.

    HEAP_FOLDER=FOLDER PYTHONPATH=benchmarks/inside python -m ...

From outside only pages can be seen, and those come and go for the allocators' own reasons. Here is
what somebody holds, to the byte: in blocks of Python's allocator for objects of up to 512 bytes,
and in those of malloc, which are gRPC's, numpy's and Python's larger ones. What only waits to be
used again does not count: garbage is collected before, with the interpreter's lists of free tuples,
and so is its cache of methods, which keeps the last 4,096 names that were looked up.

FOLDER/<pid> gets a line of JSON each second: seconds of the system's monotonic clock, and the two
numbers of bytes. It needs glibc 2.33.
"""

import ctypes
import gc
import json
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Final

_EVERY_S: Final = 1.0
_SMALL: Final = re.compile(rb"# bytes in allocated blocks += +([\d,]+)")


class _Mallinfo2(ctypes.Structure):
    """malloc.h: `uordblks` are bytes in use, `hblkhd` those that have a mapping of their own."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def _held_bytes(libc: ctypes.CDLL) -> tuple[int, int]:
    """Return what is in use of Python's allocator, and of malloc."""
    text, size = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(size)))
    ctypes.pythonapi._PyObject_DebugMallocStats(stream)
    libc.fclose(stream)
    found = _SMALL.search(ctypes.string_at(text, size.value))
    libc.free(text)
    assert found is not None
    info = libc.mallinfo2()
    return int(found[1].replace(b",", b"")), int(info.uordblks + info.hblkhd)


def _tell(path: Path) -> None:
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _Mallinfo2
    libc.open_memstream.restype = ctypes.c_void_p
    with path.open("a", encoding="ascii") as lines:
        while True:
            time.sleep(_EVERY_S)
            gc.collect()
            sys._clear_type_cache()
            lines.write(json.dumps([time.monotonic(), *_held_bytes(libc)]) + "\n")
            lines.flush()


if folder := os.environ.get("HEAP_FOLDER"):
    threading.Thread(target=_tell, args=(Path(folder) / str(os.getpid()),), daemon=True).start()
