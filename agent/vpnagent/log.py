"""Logging: one line an event, the constant name first, then ``key=value``.

Under systemd each line carries its priority (sd-daemon(3)) and journald adds the time; elsewhere the
time stands in the line. Secrets are of type ``Secret`` and show as ``***`` whatever the format.
"""

import logging
import os
import sys
import time
from collections.abc import Mapping

PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))


class JournalFormatter(logging.Formatter):
    """``<priority>message``, continuation lines with the same priority."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's lines, each with its priority."""
        priority = next((p for level, p in PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).splitlines())


def configure(*, debug: bool, environ: Mapping[str, str] = os.environ) -> None:
    """Send this package's log to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in environ:
        handler.setFormatter(JournalFormatter("%(message)s"))
    else:
        formatter = logging.Formatter(
            "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"
        )
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    root = logging.getLogger("vpnagent")
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    root.propagate = False
