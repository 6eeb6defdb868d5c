"""Begins every command: from here on SIGTERM, SIGHUP, Ctrl-C have a status of their own.

What takes time to import comes after it.
"""

import sys

from common.errors import ToldToEndError
from services.process import ending
from services.process.exit_status import Exit
from services.process.standard_streams import lost, open_missing


def main() -> None:
    """Run the command in `sys.argv`; never returns normally."""
    open_missing()
    ending.begin()
    try:
        from commands.app import run

        run()
    except ToldToEndError:
        sys.exit(Exit.TOLD)
    except OSError:
        if not (why := lost()):
            raise
        sys.stderr.write(f"crosscloud: standard output cannot be written: {why}\n")
        sys.exit(Exit.FAILED)
    finally:
        ending.finish()
