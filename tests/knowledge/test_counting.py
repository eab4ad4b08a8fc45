"""What the counters are made of: interfaces that are made again, probers that begin again."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.config_examples import make_config

from vpnagent.config.values import TunnelKey
from vpnagent.knowledge.counters import Probes, Traffic
from vpnagent.netlink.rtnetlink import LinkCounters
from vpnagent.policy.desired import desired
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import LATENESS_BOUNDS, RTT_BOUNDS, Cause, PathReport
from vpnagent.probe.protocol import ProberReport, TunnelMeter
from vpnagent.routing.objects import KernelObjects, KernelState, XfrmLink

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
LINK = XfrmLink(name="vpn-hz-1", if_id=1, alias=PRIMARY.owner, mtu=1399, address=None, up=True)


def kernel(link: XfrmLink, *, index: int, rx_bytes: int) -> KernelState:
    counters = LinkCounters(rx_bytes=rx_bytes, tx_bytes=2, rx_packets=3, tx_packets=4, index=index)
    return KernelState(
        objects=KernelObjects(links={link.name: link}),
        foreign_links=frozenset(),
        foreign_routes=frozenset(),
        counters={link.name: counters},
    )


def test_the_alias_of_the_example_names_its_tunnel() -> None:
    links = desired(make_config(), {}, frozenset()).kernel.links
    assert links["vpn-hz-1"].alias == PRIMARY.owner


def test_an_interface_that_is_made_again_counts_on() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(LINK, index=8, rx_bytes=1500))  # more than before, and all of it new

    assert traffic.of(PRIMARY) == LinkCounters(rx_bytes=2500, tx_bytes=4, rx_packets=6, tx_packets=8)


def test_a_tunnel_counts_on_through_an_interface_of_another_name() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(replace(LINK, name="vpn-new"), index=8, rx_bytes=1))

    assert traffic.of(PRIMARY).rx_bytes == 1001


def test_an_interface_that_becomes_another_tunnels_brings_nothing_along() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(kernel(replace(LINK, alias=BACKUP.owner), index=7, rx_bytes=1001))

    assert (traffic.of(PRIMARY).rx_bytes, traffic.of(BACKUP).rx_bytes) == (1000, 1)


def test_a_tunnel_without_an_interface_keeps_its_count() -> None:
    traffic = Traffic()
    traffic.update(kernel(LINK, index=7, rx_bytes=1000))
    traffic.update(
        KernelState(
            objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
        )
    )

    assert traffic.of(PRIMARY).rx_bytes == 1000


def report(sent: int, lost: int, answered: int = 0) -> ProberReport:
    path = PathReport(
        tunnel=PRIMARY,
        state=PathState.UP,
        cause=Cause.START,
        reason="",
        rtt=None,
        loss_ratio=0.0,
        target=make_config().tunnels()[0].probe.targets[0],
        sent=sent,
        answered=answered,
        lost=lost,
        held=False,
        trial=False,
        failed_trials=None,
        waiting_for_peer=False,
    )
    return ProberReport(
        at=0.0,
        generation=1,
        paths=(path,),
        selected=(),
        groups=(),
        findings=(),
        rtt=(TunnelMeter(tunnel=PRIMARY, counts=(answered, *[0] * len(RTT_BOUNDS)), total=0.001 * answered),),
        lateness=(sent, *[0] * len(LATENESS_BOUNDS)),
        lateness_total=0.0001 * sent,
        overflows=0,
        send_errors=0,
        groups_repaired=2,
        events_lost=0,
    )


def test_the_next_prober_counts_on() -> None:
    probes = Probes()
    probes.update(report(sent=10, lost=2, answered=8), prober=100)
    probes.update(report(sent=11, lost=1, answered=10), prober=101)

    assert (probes.sent(PRIMARY), probes.lost(PRIMARY)) == (21, 3)
    assert probes.round_trips(PRIMARY).counts[0] == 18
    assert probes.lateness().counts[0] == 21
    assert probes.groups_repaired == 4


def test_a_daemon_that_adopts_a_prober_tells_what_that_has_counted() -> None:
    probes = Probes()
    probes.update(report(sent=10_000, lost=2), prober=100)

    assert probes.sent(PRIMARY) == 10_000


def test_a_late_answer_takes_no_lost_probe_back() -> None:
    probes = Probes()
    for sent, lost in enumerate((3, 2, 3, 4), start=10):
        probes.update(report(sent, lost), prober=100)

    assert probes.lost(PRIMARY) == 4


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)), max_size=30
    )
)
def test_nothing_of_the_probers_counters_goes_back(rows: list[tuple[int, int, int, int]]) -> None:
    probes = Probes()
    before = [0.0] * 5
    for prober, sent, lost, answered in rows:
        probes.update(report(sent, lost, answered), prober)
        rtt, late = probes.round_trips(PRIMARY), probes.lateness()
        now = [probes.sent(PRIMARY), probes.lost(PRIMARY), rtt.counts[0], rtt.total, late.counts[0]]
        assert all(new >= old for old, new in zip(before, now, strict=True))
        before = now
