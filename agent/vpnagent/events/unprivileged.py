"""Become a program that has none of the service's capabilities: ``python -I -S unprivileged.py PROGRAM …``.

They are ambient ones, which every program inherits (capabilities(7)). Not by setpriv(1): it calls capset(2),
which the unit's system call filter refuses. Exit status 126 or 127, with one line, if that fails.
"""

import ctypes
import os
import signal
import sys
from typing import Final

PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
IGNORED: Final = (signal.SIGPIPE, signal.SIGXFSZ)  #: by Python; a program expects the default


def main(command: list[str]) -> int:
    """Run the program in our place; return an exit status if that cannot be."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0):
        sys.stderr.write(f"the capabilities cannot be given up: {os.strerror(ctypes.get_errno())}\n")
        return 126
    for number in IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)  # noqa: S606 - no shell is wanted
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
