"""docs/events.md tells every type, as it is."""

import pathlib

import pytest

from vpnagent.events.backlog import MOST as MOST_WAITING
from vpnagent.events.backlog import PAUSES
from vpnagent.events.damping import BURST, RATE, SUBJECT_BURST, SUBJECT_RATE
from vpnagent.events.hooks import DRAIN
from vpnagent.events.store import MOST, MOST_BYTES
from vpnagent.finding import EventType
from vpnagent.log import ALIKE, EQUAL, PERIOD

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "events.md").read_text(encoding="utf-8")


def test_every_type_is_told_in_order_and_no_other() -> None:
    rows = [line.split(" | ") for line in PAGE.splitlines() if line.startswith("| `")]
    told = [(row[0].strip("|` "), row[1], row[-1].strip("|` ")) for row in rows]
    assert told == [(kind.value, kind.title, kind.message_id) for kind in EventType]


@pytest.mark.parametrize(
    "bound",
    [
        f"at most {BURST:g} + T events" if RATE == 1 else "",
        f"at most {SUBJECT_BURST:g} + T / {1 / SUBJECT_RATE:g}",
        f"the last {MOST} at least and {2 * MOST} at most",
        f"{MOST_BYTES // 1024**2} MiB each",
        f"At most {MOST_WAITING} events wait",
        "pauses of 1, 2, 4, 8, 16,\n30 s" if PAUSES == (1, 2, 4, 8, 16, 30) else "",
        f"Of equal lines at most {EQUAL} in {PERIOD:g} s are written, of one kind of line at most {ALIKE}",
        f"one more attempt within {DRAIN:g} s",
    ],
)
def test_the_bounds_are_those_of_the_code(bound: str) -> None:
    assert bound
    assert bound in PAGE
