"""The first line of every command: from here on SIGTERM and Ctrl-C have their own exit status.

What takes time to import comes after it.
"""

import sys

from common.errors import ToldToEndError
from services import ending
from services.exit_status import Exit
from services.standard_streams import open_missing


def main() -> None:
    """Run the command in `sys.argv`; never returns normally."""
    open_missing()
    ending.begin()
    try:
        from services.cli.app import run

        run()
    except ToldToEndError:
        sys.exit(Exit.TOLD)
    finally:
        ending.finish()
