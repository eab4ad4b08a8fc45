"""Durations and rates as an operator writes them: ``100ms``, ``24h``, ``200Mbps``, or a plain number.

Durations become seconds, rates bits per second, both finite and not negative. Prefixes are decimal, and
spelled in one way only: ``MBps`` would be bytes to some readers.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

from vpnagent.config.wording import shown

DURATION_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
RATE_UNITS: Final = {"bps": 1.0, "kbps": 1e3, "Mbps": 1e6, "Gbps": 1e9}

DURATION_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(ms|s|m|h)?$"
RATE_PATTERN: Final = r"^[0-9]{1,15}(\.[0-9]{1,9})?(bps|kbps|Mbps|Gbps)?$"

_QUANTITY = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?)(?P<unit>[A-Za-z]*)", re.ASCII)


def duration(value: object) -> float:
    """Return seconds. Raises ValueError with the rule and the value."""
    return _quantity(value, DURATION_UNITS, "a duration such as 100ms, 5s, 2m, 24h or a number of seconds")


def rate(value: object) -> float:
    """Return bits per second. Raises ValueError with the rule and the value."""
    return _quantity(
        value, RATE_UNITS, "a rate such as 64kbps, 200Mbps, 1Gbps or a number of bits per second"
    )


def _quantity(value: object, units: Mapping[str, float], rule: str) -> float:
    match value:
        case bool():
            pass
        case int() | float() if 0 <= value < math.inf:
            # An int beyond the floats would overflow; no bound of ours is near.
            return float(min(value, 1e300))
        case str() if (found := _QUANTITY.fullmatch(value)) and (found["unit"] in units or not found["unit"]):
            # Divide by the inverse: 100 * 0.001 is 0.1 by luck, 3 * 0.001 is not 0.003.
            scale = units.get(found["unit"], 1.0)
            number = float(found["number"])
            return number * scale if scale >= 1 else number / round(1 / scale)
    raise ValueError(f"must be {rule}, not {shown(value)}")
