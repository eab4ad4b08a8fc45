"""Set algebra over keyed objects, the same for every kind.

What there must not be is decided elsewhere: ``actual`` holds only what we own, so that the keys it has
beyond ``desired`` may go.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Difference(Generic[K, V]):
    """What turns one table into another; no key stands in two of the three."""

    missing: Mapping[K, V]  #: desired, and not there
    changed: Mapping[K, tuple[V, V]]  #: there, and not as desired: (desired, actual)
    surplus: Mapping[K, V]  #: there, and not desired

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.surplus)


def diff(desired: Mapping[K, V], actual: Mapping[K, V]) -> Difference[K, V]:
    """Return what turns ``actual`` into ``desired``."""
    if desired is actual:  # 10,000 routes that are as they should be are compared once, by who read them
        return Difference({}, {}, {})
    missing: dict[K, V] = {}
    changed: dict[K, tuple[V, V]] = {}
    for key, value in desired.items():
        there = actual.get(key)
        if there is None:
            missing[key] = value
        elif there != value:
            changed[key] = value, there
    surplus = {}
    if len(actual) > len(desired) - len(missing):
        surplus = {key: value for key, value in actual.items() if key not in desired}
    return Difference(missing, changed, surplus)
