"""Each use of a remote network by somebody else is made for real, and found; without it there is nothing."""

import os
import pathlib
from collections.abc import Iterator
from ipaddress import IPv4Network

import pytest
from tests.config_examples import make_config
from tests.native.machine import Machine, machine

from vpnagent.finding import Severity

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)


@pytest.fixture
def tidy(tmp_path: pathlib.Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def link(machine: Machine, name: str, *, kind: str = "tun") -> None:
    """Add an interface of a kind that this kernel has, and set it up."""
    command = f"tuntap add {name} mode tun" if kind == "tun" else f"link add {name} type {kind}"
    machine.gateway.ip(command)
    machine.gateway.ip(f"link set {name} up")


def test_a_tidy_machine_has_no_finding(tidy: Machine) -> None:
    assert tidy.findings(thorough=True) == []


def test_an_address_in_a_remote_network(tidy: Machine) -> None:
    tidy.gateway.ip("address add 100.70.3.1/24 dev lan")

    found = tidy.only("AddressInRemote")

    assert (found.subject, found.severity) == ("lan 100.70.3.1/24", Severity.WARNING)
    assert "100.70.3.0/24 cannot be reached" in found.text
    assert "PrivateLink" in found.hint
    assert "narrow ranges" in found.hint


def test_an_address_that_covers_the_clouds_name_servers_is_critical(tidy: Machine) -> None:
    tidy.gateway.ip("address add 100.100.0.1/16 dev lan")

    assert tidy.only("AddressInRemote").severity is Severity.CRITICAL


def test_an_uplink_behind_the_nat_of_a_carrier(tidy: Machine) -> None:
    tidy.gateway.ip("address replace 100.66.1.2/22 dev eth0")
    tidy.gateway.ip("route replace default via 100.66.0.1")

    found = tidy.only("WanInRemote")

    assert found.subject == "eth0 100.66.1.2/22"
    assert "carrier's NAT" in found.text


def test_a_more_specific_route_of_somebody_else(tidy: Machine) -> None:
    tidy.gateway.ip("route add 100.118.28.0/24 via 10.1.0.9")
    tidy.gateway.ip("route add blackhole 172.16.5.0/24")

    found = {finding.subject: finding for finding in tidy.findings()}

    assert {f.code for f in found.values()} == {"RouteInRemote"}
    assert "100.118.28.0/24" in found["lan"].text
    assert "172.16.5.0/24" in found[""].text


def test_our_own_routes_wider_ones_and_worse_ones_are_no_conflict(tidy: Machine) -> None:
    tidy.gateway.ip("route add unreachable 100.64.0.0/10 metric 4278198272 protocol 86")
    tidy.gateway.ip("route add 100.64.0.0/10 via 10.1.0.9 metric 100")
    tidy.gateway.ip("route add 172.0.0.0/8 via 10.1.0.9")
    link(tidy, "vpn-hz-1")
    tidy.gateway.ip("address add 169.254.10.2/30 dev vpn-hz-1")
    tidy.gateway.ip("route add 100.64.0.0/10 dev vpn-hz-1 protocol 86")
    tidy.gateway.ip("route add 100.118.28.0/24 dev vpn-hz-1")

    assert tidy.codes() == set()


def test_tailscale_with_its_address_its_rules_and_its_table(tidy: Machine) -> None:
    link(tidy, "tailscale0")
    tidy.gateway.ip("address add 100.101.102.103/32 dev tailscale0")
    tidy.gateway.ip("rule add priority 5210 fwmark 0x80000/0xff0000 lookup main")
    tidy.gateway.ip("rule add priority 5230 fwmark 0x80000/0xff0000 lookup default")
    tidy.gateway.ip("rule add priority 5250 fwmark 0x80000/0xff0000 unreachable")
    tidy.gateway.ip("rule add priority 5270 lookup 52")
    for peer in ("100.100.100.100", "100.88.1.7", "100.88.1.8", "100.88.1.9"):
        tidy.gateway.ip(f"route add {peer} dev tailscale0 table 52")

    found = {finding.code: finding for finding in tidy.findings()}

    assert found.keys() == {"AddressInRemote", "RuleBeforeMain"}
    assert found["AddressInRemote"].severity is Severity.INFO  # one address; the rest is the rule's doing
    rule = found["RuleBeforeMain"]
    assert "ip rule 5270: from all lookup 52 comes before the main table, and has 4 routes" in rule.text
    assert "ip rule add to 100.64.0.0/10 priority 5269 lookup main" in rule.hint


def test_the_way_out_that_is_told_for_tailscale_is_one(tidy: Machine) -> None:
    link(tidy, "tailscale0")
    tidy.gateway.ip("rule add priority 5270 lookup 52")
    tidy.gateway.ip("route add 100.88.1.7 dev tailscale0 table 52")
    hint = tidy.only("RuleBeforeMain").hint

    tidy.gateway.ip(hint[hint.index("rule add") :].split(";")[0])

    assert tidy.codes() == set()


def test_a_policy_for_the_lan_that_comes_before_the_main_table(tidy: Machine) -> None:
    tidy.gateway.ip("route add default via 192.0.2.1 table 100")
    tidy.gateway.ip("rule add from 10.1.0.0/16 lookup 100 priority 1000")

    assert {(f.code, f.severity) for f in tidy.findings()} == {("RuleBeforeMain", Severity.CRITICAL)}


@pytest.mark.parametrize(
    "rule",
    [
        "not fwmark 0xca6c lookup 100",  # wg-quick's
        "not to 10.1.0.0/16 lookup 100",
        "not from 192.168.9.0/24 lookup 100",
        "not iif eth0 lookup 100",
        "not ipproto tcp lookup 100",
    ],
)
def test_an_inverted_rule_is_for_all_that_it_does_not_name(tidy: Machine, rule: str) -> None:
    tidy.gateway.ip("route add default via 192.0.2.1 table 100")
    tidy.gateway.ip(f"rule add {rule} priority 1000")

    found = {(f.code, f.severity) for f in tidy.findings()}

    assert found == {("RuleBeforeMain", Severity.CRITICAL)}
    assert all("1000: not from" in f.text for f in tidy.findings())


@pytest.mark.parametrize(
    "harmless",
    [
        "fwmark 7 lookup 100",  # only what somebody marks
        "not from 10.1.0.0/16 to 0.0.0.0/0 lookup 100",  # all but the LAN
        "not fwmark 0/0xff lookup 100",  # what is marked
        "from 192.168.9.0/24 lookup 100",  # of others
        "to 198.18.0.0/15 lookup 100",
        "lookup 101",  # an empty table
        "lookup 100 suppress_prefixlength 0",  # without its default route nothing is left
    ],
)
def test_a_rule_that_does_not_concern_the_remote_networks_is_none_of_ours(
    tidy: Machine, harmless: str
) -> None:
    tidy.gateway.ip("route add default via 192.0.2.1 table 100")
    tidy.gateway.ip(f"rule add {harmless} priority 1000")

    assert tidy.codes() == set()


def test_after_a_rule_that_has_the_main_table_decide_no_other_matters(tidy: Machine) -> None:
    tidy.gateway.ip("route add default via 192.0.2.1 table 100")
    tidy.gateway.ip("rule add lookup main suppress_prefixlength 0 priority 999")
    tidy.gateway.ip("rule add lookup 100 priority 1000")

    assert tidy.codes() == set()


def test_a_rule_that_refuses(tidy: Machine) -> None:
    tidy.gateway.ip("rule add to 172.16.0.0/12 prohibit priority 1000")

    found = tidy.only("RuleBeforeMain")

    assert "1000: from all to 172.16.0.0/12 prohibit" in found.text


@pytest.mark.parametrize("bridge", ["docker0", "br-0123456789ab", "cni0"])
def test_a_bridge_of_containers(tidy: Machine, bridge: str) -> None:
    link(tidy, bridge, kind="bridge")
    tidy.gateway.ip(f"address add 172.16.8.1/21 dev {bridge}")

    found = tidy.only("ContainersInRemote")

    assert bridge in found.text
    assert "PrivateLink" not in found.hint  # the cloud's services are not in a VPC's own range


def test_a_name_server_of_the_carrier_is_sought_in_the_tunnels(
    tidy: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tidy.folder / "etc").mkdir()
    (tidy.folder / "etc/resolv.conf").write_text("nameserver 100.100.2.136\nnameserver 100.64.0.53\n")
    monkeypatch.setattr("vpnagent.checks.readings.resolvers.__defaults__", (tidy.folder,))

    assert tidy.only("ResolverInRemote").subject == "100.64.0.53"


def test_with_narrow_ranges_the_same_addresses_are_no_conflict(tidy: Machine) -> None:
    tidy.gateway.ip("address add 100.70.3.1/24 dev lan")
    narrow = make_config(connection={"remote_networks": (IPv4Network("100.118.28.0/24"),)})

    assert tidy.findings(narrow) == []
