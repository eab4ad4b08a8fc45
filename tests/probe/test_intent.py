from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.probe.simulation import make_intent

from vpnagent.config.values import TunnelKey
from vpnagent.probe.intent import Intent, Limits, TunnelIntent


def tunnel(number: int = 0) -> TunnelIntent:
    return make_intent().tunnels()[number]


def with_tunnels(*tunnels: TunnelIntent) -> Intent:
    intent = make_intent()
    return replace(intent, connections=(replace(intent.connections[0], tunnels=tunnels),))


WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: replace(tunnel(), interval=0), "0.001 <= interval <= 60: 0"),
    (lambda: replace(tunnel(), interval=float("nan")), "0.001 <= interval <= 60: nan"),
    (lambda: replace(tunnel(), weight=256), "weight is 1 to 255: 256"),
    (lambda: replace(tunnel(), targets=()), "targets must not be empty"),
    (lambda: replace(tunnel(), failed_trials=-1), "failed_trials >= 0"),
    (lambda: with_tunnels(replace(tunnel(), key=TunnelKey("b", "a"))), "tunnel b/a is not of: hangzhou"),
    (lambda: with_tunnels(tunnel(), tunnel()), "tunnel given twice"),
    (
        lambda: with_tunnels(tunnel(), replace(tunnel(1), nexthop_id=tunnel().nexthop_id)),
        "nexthop id given twice",
    ),
    (lambda: Limits(loss_leave=0.9), "loss_leave <= loss_enter"),
    (lambda: Limits(rtt_enter=0.5), "both RTT limits or none"),
    (
        lambda: replace(make_intent(), groups=(replace(make_intent().groups[0], connections=("other",)),)),
        "group of unknown connections",
    ),
]


@pytest.mark.parametrize(("make", "rule"), WRONG, ids=[rule for _, rule in WRONG])
def test_a_broken_rule_is_named(make: Callable[[], object], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        make()


def test_the_detection_time_is_the_silence_that_means_down() -> None:
    assert replace(tunnel(), interval=0.1, detect_multiplier=5).detection_time == pytest.approx(0.5)
