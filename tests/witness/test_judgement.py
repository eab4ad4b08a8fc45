"""Is each network carried? A whole chain is; a chain with one broken link is not, and the link is named."""

import errno
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.config_examples import make_config, make_connection, make_tunnel
from tests.witness.chains import (
    LAN,
    LAN_ADDRESS,
    PLAIN_RULES,
    TO_UPLINK,
    TUNNEL,
    UPLINK,
    UPLINK_ADDRESS,
    Chain,
    from_a_host,
    out_of_a_tunnel,
    rule,
)

from vpnagent.checks.firewall import Marking
from vpnagent.config.values import TrafficSelectors, TunnelKey
from vpnagent.finding import Severity
from vpnagent.netlink.rtnetlink import MAIN_TABLE
from vpnagent.routing.fib import FIB_RULE_INVERT
from vpnagent.witness.values import Answer, Filtering, Link, Question

PRIMARY, BACKUP = TunnelKey("hangzhou", "primary"), TunnelKey("hangzhou", "backup")
LOCAL, OSS, VPC = (IPv4Network(n) for n in ("10.1.0.0/16", "100.64.0.0/10", "172.16.0.0/16"))
ALL = (("0.0.0.0/0",), ("0.0.0.0/0",))
NARROW = (("10.1.0.0/16",), ("172.16.0.0/16",))

Break = Callable[[Chain], Chain]


def no_tunnel(chain: Chain) -> Chain:
    return chain.change(selected={"hangzhou": ()})


def no_route(chain: Chain) -> Chain:
    return chain.change(missing=frozenset({OSS, VPC}))


def no_lan(chain: Chain) -> Chain:
    return chain.answers(lambda q: TO_UPLINK if q.destination in LOCAL else None)


def lan_does_not_forward(chain: Chain) -> Chain:
    return chain.change(forwarding={**chain.facts.forwarding, LAN: False})


def tunnel_does_not_forward(chain: Chain) -> Chain:
    return chain.change(forwarding={**chain.facts.forwarding, TUNNEL: False})


def dropped(chain: Chain) -> Chain:
    told = Filtering(dropped="inet filter forward: policy drop")
    return chain.change(filtering={(LOCAL, OSS): told, (LOCAL, VPC): told})


def diverted(chain: Chain) -> Chain:
    return chain.answers(lambda q: TO_UPLINK._replace(table=100) if from_a_host(q) else None)


def guarded(chain: Chain) -> Chain:
    return chain.answers(lambda q: Answer(errno=errno.EHOSTUNREACH) if from_a_host(q) else None)


def answers_leave(chain: Chain) -> Chain:
    return chain.answers(lambda q: TO_UPLINK if out_of_a_tunnel(chain)(q) else None)


def answers_are_filtered(chain: Chain) -> Chain:
    return chain.answers(lambda q: Answer(errno=errno.EXDEV) if out_of_a_tunnel(chain)(q) else None)


def narrowed(chain: Chain) -> Chain:
    return chain.change(selectors={PRIMARY: ((("10.1.0.0/24",), ("172.16.0.0/16",)),)})


BREAKS: dict[Break, Link] = {
    no_tunnel: Link.TUNNEL,
    no_route: Link.ROUTE,
    no_lan: Link.SOURCE_NETWORK,
    lan_does_not_forward: Link.FORWARDING,
    tunnel_does_not_forward: Link.FORWARDING,
    dropped: Link.PACKET_FILTER,
    diverted: Link.WAY_OUT,
    guarded: Link.WAY_OUT,
    answers_leave: Link.WAY_BACK,
    answers_are_filtered: Link.WAY_BACK,
    narrowed: Link.SELECTORS,
}
NAMES = [broken.__name__ for broken in BREAKS]


def test_a_whole_chain_is_carried_and_nothing_is_told() -> None:
    said = Chain().look()
    assert [verdict.carried for verdict in said.verdicts] == [True, True]
    assert not said.findings


@pytest.mark.parametrize(("broken", "link"), BREAKS.items(), ids=NAMES)
def test_a_broken_link_is_named_for_every_network(broken: Break, link: Link) -> None:
    said = broken(Chain()).look()
    assert {verdict.link for verdict in said.verdicts} == {link}
    assert all(verdict.reason for verdict in said.verdicts)


@given(st.lists(st.sampled_from([*BREAKS]), min_size=1, unique=True))
def test_of_several_broken_links_the_first_in_the_chain_is_named(several: list[Break]) -> None:
    chain = Chain()
    for broken in several:
        broken(chain)
    first = min((BREAKS[broken] for broken in several), key=list(Link).index)
    assert {verdict.link for verdict in chain.look().verdicts} == {first}


networks = st.builds(
    lambda address, length: IPv4Network((address, length), strict=False),
    st.integers(0x0B000000, 0xDF000000),
    st.integers(8, 32),
)


@given(
    st.lists(networks, min_size=1, max_size=3, unique=True),
    st.sampled_from([(), (ALL,), (NARROW, ALL)]),
    st.lists(st.sampled_from([0, 1, 7, 0xCA6C]), max_size=3).map(tuple),
)
def test_whatever_the_networks_a_whole_chain_is_carried(
    remotes: list[IPv4Network], selectors: tuple[object, ...], marks: tuple[int, ...]
) -> None:
    """Liveness: neither marks that lead into the tunnel too nor wide selectors break what is whole."""
    config = make_config(connection={"remote_networks": tuple(remotes)})
    filtering = {(LOCAL, remote): Filtering(marking=Marking((0, *marks))) for remote in remotes}
    chain = Chain(config=config).change(
        selectors={PRIMARY: selectors} if selectors else {},
        filtering=filtering,
        rules=(*PLAIN_RULES, rule(mark=7, mask=0xFF)),
    )
    taken = [a.network for _, a in chain.facts.addresses]
    assume(not any(remote.overlaps(network) for remote in remotes for network in taken))
    said = chain.look()
    assert all(verdict.carried for verdict in said.verdicts)
    assert not said.findings


LINE = Answer(interface="eth3", table=MAIN_TABLE, length=10)


def by_a_line(chain: Chain) -> Chain:
    chain.config = make_config(connection={"exits": ("eth3",), "route_metric": 500})
    remotes = chain.config.connections[0].remote_networks
    return chain.answers(lambda q: LINE if any(q.destination in n for n in remotes) else None)


@pytest.mark.parametrize("also", [no_tunnel, no_route, narrowed, tunnel_does_not_forward])
def test_what_a_line_carries_is_carried_whatever_the_tunnels_do(also: Break) -> None:
    said = by_a_line(also(Chain())).look()
    assert {(verdict.carried, verdict.by, verdict.reason) for verdict in said.verdicts} == {
        (True, "eth3", "")
    }


@pytest.mark.parametrize(
    ("also", "link"), [(no_lan, Link.SOURCE_NETWORK), (lan_does_not_forward, Link.FORWARDING)]
)
def test_what_hosts_cannot_send_no_line_carries(also: Break, link: Link) -> None:
    assert {verdict.link for verdict in by_a_line(also(Chain())).look().verdicts} == {link}


def test_by_an_interface_that_is_no_exit_nothing_is_carried() -> None:
    chain = by_a_line(Chain())
    chain.config = make_config()
    assert {verdict.link for verdict in chain.look().verdicts} == {Link.WAY_OUT}


def test_what_is_not_known_breaks_nothing() -> None:
    chain = Chain().change(rules=(), selectors={}, filtering={}, forwarding={})
    assert all(verdict.carried for verdict in chain.look().verdicts)


def test_narrowed_selectors_cost_only_what_is_outside_and_the_finding_names_them() -> None:
    said = Chain().change(selectors={PRIMARY: (NARROW,)}).look()
    assert {v.pair.remote: v.carried for v in said.verdicts} == {OSS: False, VPC: True}
    [found] = said.findings
    assert (found.code, found.subject, found.severity) == (
        "SelectorsNarrowed",
        "hangzhou/primary",
        Severity.CRITICAL,
    )
    assert "10.1.0.0/16 === 172.16.0.0/16" in found.text
    assert "100.64.0.0/10" in found.text


def test_of_ike_version_1_a_missing_pair_is_to_be_made_in_the_cloud() -> None:
    ike = replace(make_config().connections[0].ike, version=1)
    config = make_config(connection={"traffic_selectors": TrafficSelectors.NETWORKS, "ike": ike})
    said = Chain(config).change(selectors={PRIMARY: (NARROW,)}).look()
    assert "in the cloud make an IPsec connection for this pair too" in said.findings[0].hint


def test_a_narrowed_standby_costs_nothing_yet_and_is_told() -> None:
    said = Chain().change(selectors={BACKUP: (NARROW,)}).look()
    assert all(verdict.carried for verdict in said.verdicts)
    assert [(f.code, f.subject, f.severity) for f in said.findings] == [
        ("SelectorsNarrowed", "hangzhou/backup", Severity.WARNING)
    ]


def test_the_rule_that_diverts_is_named() -> None:
    wg_quick = rule(mark=0xCA6C, mask=0xFFFFFFFF, flags=FIB_RULE_INVERT)
    said = diverted(Chain().change(rules=(*PLAIN_RULES, wg_quick))).look()
    [found] = said.findings
    assert found.code == "NetworkNotCarried"
    assert "ip rule 100: not from all fwmark 0xca6c lookup 100" in found.text


def test_a_mark_that_is_surely_set_decides_and_the_rule_is_named() -> None:
    marking = Filtering(marking=Marking((1,)))
    chain = Chain().change(
        rules=(*PLAIN_RULES, rule(mark=1, mask=0xFFFFFFFF)),
        filtering={(LOCAL, OSS): marking, (LOCAL, VPC): marking},
    )
    chain.answers(lambda q: TO_UPLINK._replace(table=100) if q.flow.mark == 1 else None)
    said = chain.look()
    assert {verdict.link for verdict in said.verdicts} == {Link.WAY_OUT}
    assert "mark 0x1" in said.findings[0].text
    assert "fwmark 0x1 lookup 100" in said.findings[0].text


@pytest.mark.parametrize(
    ("marking", "severity"),
    [
        (Marking((0, 1)), Severity.WARNING),
        (Marking((0,), unclear=True), Severity.WARNING),
        (Marking((0,)), Severity.INFO),
    ],
)
def test_a_mark_that_may_be_set_costs_no_network_and_is_told(marking: Marking, severity: Severity) -> None:
    chain = Chain().change(
        rules=(*PLAIN_RULES, rule(mark=1, mask=0xFFFFFFFF)),
        filtering={(LOCAL, OSS): Filtering(marking=marking), (LOCAL, VPC): Filtering(marking=marking)},
    )
    chain.answers(lambda q: TO_UPLINK._replace(table=100) if q.flow.mark == 1 else None)
    said = chain.look()
    assert all(verdict.carried and not verdict.in_part for verdict in said.verdicts)
    assert [(f.code, f.severity) for f in said.findings] == [("TrafficAstray", severity)]


def test_a_protocol_that_a_rule_diverts_is_critical() -> None:
    chain = Chain().change(rules=(*PLAIN_RULES, rule(ip_protocol=1)))
    chain.answers(lambda q: TO_UPLINK._replace(table=100) if q.flow.protocol == 1 else None)
    said = chain.look()
    assert all(verdict.in_part for verdict in said.verdicts)
    [found] = said.findings
    assert (found.code, found.severity) == ("TrafficAstray", Severity.CRITICAL)
    assert "ipproto 1 lookup 100" in found.text


def test_at_most_32_marks_are_looked_up_and_the_others_are_told() -> None:
    asked: set[int] = set()

    def listen(question: Question) -> None:
        asked.add(question.flow.mark)

    rules = tuple(rule(mark=mark, mask=0xFF) for mark in range(1, 41))
    said = Chain().change(rules=(*PLAIN_RULES, *rules)).answers(listen).look()
    assert len(asked - {0}) == 32
    assert [(f.code, f.subject) for f in said.findings] == [("NotLookedAt", "marks")]
    assert "8 of 40" in said.findings[0].text


def test_a_rule_that_cannot_be_asked_for_is_told() -> None:
    said = Chain().change(rules=(*PLAIN_RULES, rule(obscure=True))).look()
    assert [f.code for f in said.findings] == ["NotLookedAt"]


def test_part_of_a_local_network_without_a_route_is_a_warning_and_costs_nothing() -> None:
    addresses = ((LAN, IPv4Interface("10.1.0.1/24")), (UPLINK, UPLINK_ADDRESS))
    said = Chain().change(addresses=addresses).look()
    assert all(verdict.carried for verdict in said.verdicts)
    assert [(f.code, f.severity) for f in said.findings] == [("NoWayToLan", Severity.WARNING)]


def test_hosts_behind_a_route_stand_for_a_network_whose_ends_are_not_there() -> None:
    core = IPv4Network("10.20.0.0/16")
    local = IPv4Network("10.0.0.0/8")
    config = make_config(gateway={"local_networks": (local,), "source_address": None})
    addresses = ((LAN, IPv4Interface("192.168.1.2/24")), (UPLINK, UPLINK_ADDRESS))
    chain = Chain(config=config).change(addresses=addresses)
    chain.answers(lambda q: Answer(interface=LAN, table=254, length=16) if q.destination in core else None)
    assert not any(verdict.carried for verdict in chain.look().verdicts)
    chain.change(hosts={local: (core[1],)})
    assert all(verdict.carried for verdict in chain.look().verdicts)


def test_a_default_route_leads_to_the_lan_only_where_there_is_one_arm() -> None:
    one = ((UPLINK, IPv4Interface("192.168.1.2/24")),)
    config = make_config(gateway={"source_address": None})
    assert all(v.carried for v in Chain(config=config).change(addresses=one).look().verdicts)
    for other, carried in (("docker0", True), ("eth1", False)):
        two = (*one, (other, IPv4Interface("172.31.0.1/16")))
        verdicts = Chain(config=config).change(addresses=two).look().verdicts
        assert {verdict.carried for verdict in verdicts} == {carried}


def test_a_default_route_leads_to_the_lan_where_its_interface_is_said_to() -> None:
    two = ((UPLINK, IPv4Interface("192.168.1.2/24")), ("eth1", IPv4Interface("172.31.0.1/16")))
    config = make_config(gateway={"source_address": None, "local_interfaces": (UPLINK,)})
    assert all(v.carried for v in Chain(config=config).change(addresses=two).look().verdicts)


def test_a_network_that_leaves_by_an_exit_that_was_allowed_is_carried() -> None:
    for exits, carried in (([], False), (["line0"], True)):
        chain = Chain(config=make_config(connection={"exits": tuple(exits)}))
        chain.answers(lambda q: Answer(interface="line0", table=254) if q.destination in VPC else None)
        verdicts = {v.pair.remote: v.carried for v in chain.look().verdicts}
        assert verdicts == {OSS: True, VPC: carried}


def test_a_network_of_this_machine_alone_is_judged_by_its_own_packets() -> None:
    own = IPv4Network("10.1.0.1/32")
    config = make_config(gateway={"local_networks": (own,), "source_address": None})
    addresses = (("lo", IPv4Interface("10.1.0.1/32")), (UPLINK, UPLINK_ADDRESS))
    chain = Chain(config=config).change(addresses=addresses)
    assert all(verdict.carried for verdict in chain.look().verdicts)
    chain.answers(lambda q: TO_UPLINK if q.source == IPv4Address("10.1.0.1") else None)
    assert {verdict.link for verdict in chain.look().verdicts} == {Link.WAY_OUT}


def test_our_own_packets_astray_cost_no_network_and_are_told() -> None:
    chain = Chain()
    chain.answers(lambda q: TO_UPLINK if q.source == LAN_ADDRESS.ip and not q.incoming else None)
    said = chain.look()
    assert all(verdict.carried for verdict in said.verdicts)
    assert [f.code for f in said.findings] == ["OwnPacketsAstray"]


def test_a_network_that_another_connection_carries_is_carried() -> None:
    tunnels = (make_tunnel(3, key=TunnelKey("beijing", "a")), make_tunnel(4, key=TunnelKey("beijing", "b")))
    beijing = make_connection(name="beijing", tunnels=tunnels)
    config = make_config()
    config = type(config)(
        gateway=config.gateway, agent=config.agent, connections=(*config.connections, beijing)
    )
    said = Chain(config=config).change(selected={"hangzhou": ("primary",), "beijing": ()}).look()
    assert [verdict.carried for verdict in said.verdicts] == [True] * 4


def test_every_local_and_every_remote_network_is_looked_at() -> None:
    second = IPv4Network("10.2.0.0/24")
    config = make_config(gateway={"local_networks": (LOCAL, second)})
    addresses = ((LAN, LAN_ADDRESS), ("lan1", IPv4Interface("10.2.0.1/24")), (UPLINK, UPLINK_ADDRESS))
    chain = Chain(config=config).change(addresses=addresses)
    chain.answers(lambda q: TO_UPLINK if q.incoming == "lan1" and q.destination in VPC else None)
    assert {(v.pair.local, v.pair.remote): v.carried for v in chain.look().verdicts} == {
        (LOCAL, OSS): True,
        (LOCAL, VPC): True,
        (second, OSS): True,
        (second, VPC): False,
    }


def test_one_cause_is_one_finding_however_many_networks_it_costs() -> None:
    remotes = tuple(IPv4Network((0xAC100000 + (n << 8), 24)) for n in range(40))
    config = make_config(connection={"remote_networks": remotes})
    [found] = lan_does_not_forward(Chain(config=config)).look().findings
    assert (found.code, found.subject) == ("SysctlHarmful", f"net.ipv4.conf.{LAN}.forwarding")
    assert found.severity is Severity.CRITICAL
    assert "and 37 more" in found.text


def test_without_the_daemon_a_tunnel_that_is_not_there_is_no_fault_and_the_lan_is_looked_at() -> None:
    chain = Chain().change(selected=None, forwarding={LAN: False, UPLINK: True})
    said = chain.look()
    assert {verdict.link for verdict in said.verdicts} == {Link.TUNNEL}
    assert [f.code for f in said.findings] == ["SysctlHarmful"]
