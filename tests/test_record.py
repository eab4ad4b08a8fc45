"""Records against the standard library's dataclasses, which they stand in for."""

import copy
import dataclasses
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent import record


@record.record(frozen=True, slots=True, kw_only=True)
class Point:
    """With a default and a check."""

    x: int
    y: int = 7

    def __post_init__(self) -> None:
        if self.x > 100:
            raise ValueError("x is at most 100")

    @property
    def sum(self) -> int:
        return self.x + self.y


@record.record(frozen=True, slots=True)
class Single:
    value: object


@record.record(frozen=True, slots=True)
class Nothing:
    """No fields at all."""


def twin(made: Any) -> Any:
    """Return what the standard library makes of the same fields."""
    fields = [(f.name, f.type, dataclasses.field(default=f.default)) for f in dataclasses.fields(made)]
    return dataclasses.make_dataclass(type(made).__name__, fields, frozen=True, slots=True, kw_only=True)


numbers = st.integers(-3, 3)


@given(numbers, numbers, numbers, numbers)
def test_equality_hash_and_replacement_are_those_of_the_values(a: int, b: int, c: int, d: int) -> None:
    one, other = Point(x=a, y=b), Point(x=c, y=d)
    assert (one == other) == ((a, b) == (c, d))
    assert one != other or hash(one) == hash(other)
    assert record.replace(one, y=d) == Point(x=a, y=d) == dataclasses.replace(one, y=d)
    assert one.sum == a + b


@given(numbers, numbers)
def test_it_is_shown_as_the_standard_library_shows_it(a: int, b: int) -> None:
    made = Point(x=a, y=b)
    assert repr(made) == repr(twin(made)(x=a, y=b))
    assert dataclasses.asdict(made) == {"x": a, "y": b}


@pytest.mark.parametrize("fields", [{}, {"y": 1}, {"x": 1, "z": 1}, {"x": 101}])
def test_wrong_fields_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError)):
        Point(**fields)


def test_positions_are_taken_only_where_they_are_meant() -> None:
    assert Single(3).value == 3
    assert Single.__match_args__ == ("value",)
    with pytest.raises(TypeError):
        Point(1, 2)  # type: ignore[misc]


def test_nothing_can_be_changed_or_added() -> None:
    made = Point(x=1)
    for name in ("x", "z"):
        with pytest.raises(AttributeError):
            setattr(made, name, 2)
    with pytest.raises(AttributeError):
        del made.x
    assert made == Point(x=1)


def test_records_of_two_classes_are_never_equal() -> None:
    assert Nothing() == Nothing()
    empty: object = Single(())
    assert Nothing() != empty
    assert hash(Nothing()) == hash(Nothing())


def test_a_record_survives_a_copy() -> None:
    made = Point(x=1, y=2)
    assert copy.deepcopy(made) == made


def test_the_prober_starts_without_dataclasses() -> None:
    program = "import sys, vpnagent.probe.__main__; print({'dataclasses', 'inspect'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "set()\n"
