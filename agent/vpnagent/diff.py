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
    shared = desired.keys() & actual.keys()
    return Difference(
        missing={key: value for key, value in desired.items() if key not in shared},
        changed={
            key: (value, actual[key])
            for key, value in desired.items()
            if key in shared and value != actual[key]
        },
        surplus={key: value for key, value in actual.items() if key not in shared},
    )
