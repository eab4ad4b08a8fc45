"""When large packets count as swallowed, and when as merely lost."""

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.checks.judge import judge
from vpnagent.checks.observation import LargePackets, Observation, Underlay
from vpnagent.checks.underlay import SMALL, STEP, USABLE, black_hole, sizes, targets
from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding, Severity

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
MTU = 1399
ASKED = sizes(MTU)
MTUS = st.integers(SMALL, 9000)


def looked(lost: frozenset[int], *, mtu: int = MTU, tunnel: TunnelKey = PRIMARY) -> LargePackets:
    """Return a look in which exactly these sizes were lost."""
    return LargePackets(
        tunnel=tunnel,
        target=IPv4Address("169.254.10.1"),
        mtu=mtu,
        answered=sizes(mtu) - lost,
        lost=lost,
        refused=False,
    )


def beyond(line: int, mtu: int = MTU) -> frozenset[int]:
    """Return the sizes that a hop loses which lets packets of up to ``line`` bytes pass."""
    return frozenset(size for size in sizes(mtu) if size > line)


def found(*looks: LargePackets, underlays: tuple[Underlay, ...] = ()) -> list[Finding]:
    return list(black_hole(make_config(), Observation(large_packets=looks, underlays=underlays)))


@given(MTUS, st.data())
def test_a_line_between_answered_and_lost_is_a_black_hole_with_the_largest_size_that_passed(
    mtu: int, data: st.DataObject
) -> None:
    line = data.draw(st.integers(SMALL, mtu))

    findings = found(looked(beyond(line, mtu), mtu=mtu))

    assert [f.code for f in findings] == ["MtuBlackHole"] * (line < mtu)
    for finding in findings:
        passed = max(size for size in sizes(mtu) if size <= line)
        assert f"set its mtu: {passed} " in finding.hint
        assert finding.severity is (Severity.WARNING if passed >= USABLE else Severity.CRITICAL)
        assert finding.subject == "hangzhou/primary"


@given(st.integers(USABLE, 1500), st.data())
def test_the_line_is_found_to_within_a_step(mtu: int, data: st.DataObject) -> None:
    line = data.draw(st.integers(USABLE, mtu))

    assert line - max(size for size in sizes(mtu) if size <= line) < STEP


@given(st.frozensets(st.sampled_from(sorted(ASKED))))
def test_what_is_lost_although_something_larger_was_answered_is_loss_and_no_black_hole(
    lost: frozenset[int],
) -> None:
    look = looked(lost)
    mere_loss = not look.answered or any(size < max(look.answered) for size in lost)

    assert bool(found(look)) == (bool(lost) and not mere_loss)


@given(st.frozensets(st.sampled_from(sorted(ASKED - {SMALL}))))
def test_nothing_is_concluded_where_the_small_one_is_not_answered_either(lost: frozenset[int]) -> None:
    assert found(looked(lost | {SMALL})) == []


def test_the_text_says_where_the_line_is() -> None:
    [finding] = found(looked(beyond(1310)))

    assert finding.text.startswith(
        "hangzhou/primary swallows large packets: 169.254.10.1 answers echo requests of up to 1300 bytes "
        "and none of 1320 to 1399"
    )


def test_where_the_kernel_or_a_router_says_so_nothing_is_swallowed() -> None:
    assert found(replace(looked(beyond(1300)), refused=True)) == []


@pytest.mark.parametrize(("mtu", "codes"), [(1400, ["PathMtuTooSmall"]), (1500, ["MtuBlackHole"])])
def test_what_the_kernel_knows_of_the_way_to_the_peer_is_told_alone(mtu: int, codes: list[str]) -> None:
    way = Underlay(tunnel=PRIMARY, source=IPv4Address("192.0.2.2"), mtu=mtu, error="")
    seen = Observation(large_packets=(looked(beyond(1300)),), underlays=(way,))

    assert [f.code for f in judge(make_config(), seen)] == codes


def test_a_way_to_the_peer_that_is_not_known_says_nothing_of_its_size() -> None:
    lost = Underlay(tunnel=PRIMARY, source=None, mtu=0, error="Network is unreachable")

    assert [f.code for f in found(looked(beyond(1300)), underlays=(lost,))] == ["MtuBlackHole"]


def test_a_target_that_ignores_large_requests_is_no_black_hole_while_another_answers() -> None:
    assert found(looked(beyond(SMALL)), looked(frozenset())) == []
    assert found(looked(beyond(SMALL)), looked(ASKED)) != []  # a target that answers nothing is no witness
    [finding] = found(looked(beyond(1300)), looked(beyond(1340)))
    assert "set its mtu: 1340 " in finding.hint


def test_each_tunnel_is_judged_by_itself() -> None:
    [finding] = found(looked(frozenset()), looked(beyond(1300), tunnel=BACKUP))

    assert finding.subject == "hangzhou/backup"


def test_all_targets_are_asked_or_it_is_said_that_they_were_not() -> None:
    probe = replace(make_config().tunnels()[0].probe, targets=tuple(IPv4Address(n) for n in range(1, 10)))
    many = make_config(primary={"probe": probe})
    assert len(targets(many.connections[0], many.tunnels()[0])) == 9
    told = [f for f in black_hole(many, Observation(large_packets=())) if f.code == "NotLookedAt"]
    assert [f.subject for f in told] == ["hangzhou/primary targets"]
    assert not list(black_hole(make_config(), Observation(large_packets=())))
