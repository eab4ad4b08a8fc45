"""What keepalived reads: one fault counts, and only when it lasts."""

import pytest

from vpnagent.pair.health import FAULT, HEALTHY, PATIENCE, health, health_file


@pytest.mark.parametrize(
    ("gone_for", "says"),
    [(None, HEALTHY), (0.0, HEALTHY), (PATIENCE - 0.01, HEALTHY), (PATIENCE, FAULT), (1e6, FAULT)],
)
def test_only_a_charon_that_stays_away_is_a_fault(gone_for: float | None, says: int) -> None:
    assert health(gone_for) == says


def test_the_file_lies_beside_the_control_socket() -> None:
    assert health_file("/run/vpnagent/control.sock") == "/run/vpnagent/pair.health"
