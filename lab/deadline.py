"""Waiting for an outcome: polled, with a deadline, never slept for."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
EMULATED = os.environ.get("VPNAGENT_LAB") == "machine"
GUEST = os.environ.get("VPNAGENT_LAB") != "native"  # the kernel is the lab's own
PATIENCE = 8.0 if EMULATED else 1.0  # what the emulated processor makes of a second of work


def eventually(outcome: Callable[[], T | None], what: str, *, within: float, every: float = 0.05) -> T:
    """Return the first true result of `outcome`, or fail with `what` and the last result."""
    deadline = time.monotonic() + within
    while True:
        last = outcome()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:g} s: {what}; last seen: {last!r}")
        time.sleep(every)
