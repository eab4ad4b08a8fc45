"""Durations and rates as an operator writes them: ``100ms``, ``24h``, ``200Mbps``, or a plain number.

Durations become seconds, rates bits per second, both finite and not negative. Prefixes are decimal, and
spelled in one way only: ``MBps`` would be bytes to some readers.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from vpnagent.config.wording import said, shown

#: unit -> (multiply by, divide by): 100 * 0.001 is not the float 0.1 for every number, 100 / 1000 is
DURATION_UNITS: Final = {"": (1, 1), "ms": (1, 1000), "s": (1, 1), "m": (60, 1), "h": (3600, 1)}
RATE_UNITS: Final = {"": (1, 1), "bps": (1, 1), "kbps": (10**3, 1), "Mbps": (10**6, 1), "Gbps": (10**9, 1)}

_NUMBER: Final = r"[0-9]{1,15}(\.[0-9]{1,9})?"
DURATION_PATTERN: Final = rf"^{_NUMBER}(ms|s|m|h)?$"
RATE_PATTERN: Final = rf"^{_NUMBER}(bps|kbps|Mbps|Gbps)?$"

_QUANTITY = re.compile(rf"(?P<number>{_NUMBER})(?P<unit>[A-Za-z]*)", re.ASCII)


def duration(value: object) -> float:
    """Return seconds. Raises ValueError with the rule and the value."""
    return _quantity(value, DURATION_UNITS, "a duration such as 100ms, 5s, 2m, 24h, or a number of seconds")


def rate(value: object) -> float:
    """Return bits per second. Raises ValueError with the rule and the value."""
    return _quantity(
        value, RATE_UNITS, "a rate such as 64kbps, 200Mbps, 1Gbps, or a number of bits per second"
    )


def _quantity(value: object, units: Mapping[str, tuple[int, int]], rule: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MAX:
        return float(value)
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    if not found or found["unit"] not in units:
        raise ValueError(said(f"must be {rule}, not {{}}", shown(value)))
    multiplier, divisor = units[found["unit"]]
    return float(found["number"]) * multiplier / divisor


_MAX: Final = math.nextafter(
    math.inf, 0
)  #: the largest float: neither infinity nor what only an int can hold
