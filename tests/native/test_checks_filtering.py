"""Rules of nftables and iptables that hurt are set for real, and found; those that do not are not."""

import asyncio
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from tests.config_examples import make_config
from tests.native.machine import Machine, machine

from vpnagent.checks.filtering import filtering
from vpnagent.checks.observe import observe
from vpnagent.config.values import UdpEncapsulation
from vpnagent.finding import Severity

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)
if shutil.which("nft") is None:
    pytest.skip("nft is not installed: ./dev setup installs it", allow_module_level=True)

#: What Tailscale 1.98 makes with nftables (util/linuxfw): names, order and matches.
TAILSCALE = """
table ip filter {
  chain ts-input {
    iifname "lo" ip saddr 100.101.102.103 counter accept
    iifname != "tailscale0" ip saddr 100.115.92.0/23 counter return
    iifname != "tailscale0" ip saddr 100.64.0.0/10 counter drop
    iifname "tailscale0" counter accept
    udp dport 41641 counter accept
  }
  chain ts-forward {
    iifname "tailscale0" counter meta mark set meta mark & 0xff00ffff ^ 0x40000
    meta mark & 0xff0000 == 0x40000 counter accept
    oifname "tailscale0" ip saddr 100.64.0.0/10 counter drop
    oifname "tailscale0" counter accept
  }
  chain INPUT { type filter hook input priority filter; policy accept; counter jump ts-input; }
  chain FORWARD { type filter hook forward priority filter; policy accept; counter jump ts-forward; }
}
table ip nat {
  chain ts-postrouting { meta mark & 0xff0000 == 0x40000 counter masquerade; }
  chain POSTROUTING { type nat hook postrouting priority srcnat; counter jump ts-postrouting; }
}
"""

#: A firewall as people write it, with all that the tunnels need.
GOOD = """
table inet filter {
  set management { type ipv4_addr; flags interval; elements = { 10.1.9.0/24, 10.1.8.1-10.1.8.9 } }
  chain input {
    type filter hook input priority filter; policy drop;
    ct state vmap { established : accept, related : accept, invalid : drop }
    iif lo accept
    iifname "eth0" udp dport { 500, 4500 } accept
    ip protocol icmp limit rate 10/second accept
    ip saddr @management tcp dport 22 accept
    log prefix "in " reject
  }
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" oifname "vpn-*" accept
    iifname "lan" oifname "eth0" accept
  }
  chain output { type filter hook output priority filter; policy accept; }
}
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
  chain prerouting { type nat hook prerouting priority dstnat; tcp dport 443 dnat to 10.1.0.5; }
}
"""


@pytest.fixture
def tidy(tmp_path: pathlib.Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def nft(machine: Machine, rules: str) -> None:
    """Have nft load rules."""
    command = ["ip", "netns", "exec", machine.gateway.name, "nft", "-f", "-"]
    subprocess.run(command, input=rules, text=True, check=True)


def filtered(hook: str, *rules: str, policy: str = "accept") -> str:
    """Return a table with one chain."""
    kind, priority = ("nat", "srcnat" if hook == "postrouting" else "dstnat")
    if hook in ("input", "forward", "output"):
        kind, priority = "filter", "filter"
    head = f"type {kind} hook {hook} priority {priority}; policy {policy};"
    lines = "\n".join([head, *rules])
    return f"table inet t {{\nchain c {{\n{lines}\n}}\n}}\n"


def test_a_firewall_that_lets_the_tunnels_work_has_no_finding(tidy: Machine) -> None:
    nft(tidy, GOOD)

    assert tidy.findings() == []


def test_tailscales_own_rules_drop_the_clouds_answers(tidy: Machine) -> None:
    nft(tidy, TAILSCALE)

    found = tidy.only("TunnelInputDropped")

    assert found.severity is Severity.CRITICAL
    assert "ip filter ts-input: iifname != tailscale0 ip saddr 100.64.0.0/10 drop" in found.text
    assert "netfilter-mode" in found.hint


def test_an_exception_before_tailscales_chain_is_enough(tidy: Machine) -> None:
    nft(tidy, TAILSCALE + 'insert rule ip filter INPUT iifname "vpn-hz-*" accept\n')

    assert tidy.findings() == []


@pytest.mark.parametrize(
    ("hook", "rules", "policy", "code"),
    [
        ("input", ("udp dport 500 drop",), "accept", "IkeDropped"),
        ("input", ("ct state established udp dport 500 accept",), "drop", "IkeDropped"),
        ("input", ("ip saddr 203.0.113.0/24 reject",), "accept", "IkeDropped"),
        ("output", ("udp dport 4500 drop",), "accept", "IkeDropped"),
        ("output", ("icmp type echo-request drop",), "accept", "ProbeDropped"),
        ("output", ('oifname "vpn-*" ip protocol icmp reject',), "accept", "ProbeDropped"),
        ("input", ("icmp type { echo-reply, time-exceeded } drop",), "accept", "TunnelInputDropped"),
        ("prerouting", ("udp dport {500, 4500} dnat ip to 10.1.0.7",), "accept", "IkeRedirected"),
        ("forward", ("iifname eth0 accept",), "drop", "ForwardDropped"),
        ("forward", ('iifname "lan" accept',), "drop", "ForwardDropped"),
        ("postrouting", ("masquerade",), "accept", "TunnelMasqueraded"),
        ("postrouting", ("ip saddr 10.1.0.0/16 snat ip to 192.0.2.2",), "accept", "TunnelMasqueraded"),
    ],
)
def test_a_rule_that_hurts_is_found(
    tidy: Machine, hook: str, rules: tuple[str, ...], policy: str, code: str
) -> None:
    nft(tidy, filtered(hook, *rules, policy=policy))

    assert code in tidy.codes()


@pytest.mark.parametrize(
    ("hook", "rules", "policy"),
    [
        ("input", ("udp dport 501 drop", "ip saddr 203.0.113.0/28 tcp dport 22 drop"), "accept"),
        ("forward", ('iifname "vpn-*" accept', 'oifname "vpn-*" accept'), "drop"),
        ("postrouting", ("oifname eth0 masquerade",), "accept"),
        (
            "postrouting",
            ("ip daddr 100.64.0.0/10 accept", "ip daddr 172.16.0.0/12 accept", "masquerade"),
            "accept",
        ),
        ("prerouting", ("ip daddr != 192.0.2.2 udp dport 500 redirect to :99",), "accept"),
    ],
)
def test_a_rule_that_does_no_harm_is_not(
    tidy: Machine, hook: str, rules: tuple[str, ...], policy: str
) -> None:
    nft(tidy, filtered(hook, *rules, policy=policy))

    assert tidy.findings() == []


def test_only_answers_from_the_cloud_are_an_info(tidy: Machine) -> None:
    nft(tidy, filtered("input", "ct state established,related accept", policy="drop"))

    assert {(f.code, f.severity) for f in tidy.findings()} == {("OnlyAnswersAccepted", Severity.INFO)}


def test_esp_matters_where_it_is_not_in_udp(tidy: Machine) -> None:
    nft(tidy, filtered("input", "meta l4proto esp drop"))

    assert tidy.findings() == []
    for encapsulation, severity in (("never", Severity.CRITICAL), ("auto", Severity.WARNING)):
        esp = make_config(connection={"udp_encapsulation": UdpEncapsulation(encapsulation)})
        assert {(f.code, f.severity) for f in tidy.findings(esp)} == {("EspDropped", severity)}


def test_what_cannot_be_judged_is_said_and_is_no_warning(tidy: Machine) -> None:
    nft(tidy, filtered("input", "ip ttl < 60 udp dport 500 drop"))

    found = tidy.only("FirewallUnclear")

    assert found.severity is Severity.INFO
    assert "inet t c" in found.text


def test_every_rule_is_told_once_however_many_tunnels_it_hits(tidy: Machine) -> None:
    nft(tidy, filtered("input", policy="drop"))
    codes = [finding.code for finding in tidy.findings()]

    assert len(codes) == len(set(codes))


def iptables(machine: Machine, *commands: str) -> None:
    for command in commands:
        machine.gateway.run(command)


@pytest.fixture(params=["iptables-nft", "iptables-legacy"])
def program(request: pytest.FixtureRequest) -> str:
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed: ./dev setup installs it")
    return str(request.param)


def test_docker_leaves_forwarding_dropped(tidy: Machine, program: str) -> None:
    iptables(
        tidy,
        f"{program} -P FORWARD DROP",
        f"{program} -N DOCKER-USER",
        f"{program} -A FORWARD -j DOCKER-USER",
        f"{program} -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{program} -A FORWARD -i docker0 ! -o docker0 -j ACCEPT",
        f"{program} -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE",
    )

    assert "DOCKER-USER" in tidy.only("ForwardDropped").hint

    iptables(
        tidy,
        f"{program} -I DOCKER-USER -i vpn-hz-+ -j ACCEPT",
        f"{program} -I DOCKER-USER -o vpn-hz-+ -j ACCEPT",
    )
    assert tidy.findings() == []


def test_tailscale_over_iptables(tidy: Machine, program: str) -> None:
    iptables(
        tidy,
        f"{program} -N ts-input",
        f"{program} -A ts-input -s 100.115.92.0/23 ! -i tailscale0 -j RETURN",
        f"{program} -A ts-input -s 100.64.0.0/10 ! -i tailscale0 -j DROP",
        f"{program} -I INPUT -j ts-input",
    )

    assert "Tailscale" in tidy.only("TunnelInputDropped").hint


def test_iptables_that_lets_the_tunnels_work(tidy: Machine, program: str) -> None:
    iptables(
        tidy,
        f"{program} -P INPUT DROP",
        f"{program} -A INPUT -i lo -j ACCEPT",
        f"{program} -A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        f"{program} -A INPUT -p udp -m multiport --dports 500,4500 -j ACCEPT",
        f"{program} -A INPUT -j REJECT --reject-with icmp-port-unreachable",
        f"{program} -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
        f"{program} -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
    )

    assert tidy.findings() == []


def test_masquerading_of_everything_over_iptables(tidy: Machine, program: str) -> None:
    iptables(tidy, f"{program} -t nat -A POSTROUTING -j MASQUERADE")

    assert tidy.only("TunnelMasqueraded").severity is Severity.WARNING


def test_without_the_privilege_it_is_said_that_the_rules_were_not_seen(tidy: Machine) -> None:
    program = "import asyncio; from vpnagent.checks.observe import firewall; asyncio.run(firewall())"

    assert "PermissionError" in tidy.gateway.without("net_admin", program)


def test_networks_of_one_address_are_networks(tidy: Machine) -> None:
    nft(tidy, filtered("input", "ip saddr 100.100.2.136 drop"))
    single = make_config(
        gateway={"local_networks": (IPv4Network("10.1.0.1/32"),)},
        connection={"remote_networks": (IPv4Network("100.100.2.136/32"),)},
    )

    assert {finding.code for finding in tidy.findings(single)} == {"TunnelInputDropped"}


def test_both_tunnels_are_looked_at(tidy: Machine) -> None:
    nft(tidy, filtered("input", 'iifname "vpn-hz-2" drop'))

    assert "vpn-hz-2" in tidy.only("TunnelInputDropped").text
    tunnels = tidy.config.connections[0].tunnels
    first = make_config(connection={"tunnels": (replace(tunnels[0]),)})
    assert tidy.findings(first) == []


SECOND = IPv4Network("10.2.0.0/24")


@pytest.mark.parametrize(
    "rule",
    [
        f"ip saddr {SECOND} drop",
        f"ip daddr {SECOND} drop",
        'iifname "vpn-hz-2" ip saddr 172.16.0.0/16 ip daddr 10.2.0.0/24 drop',
    ],
)
def test_every_local_network_is_looked_at_with_every_remote_one_through_every_tunnel(
    tidy: Machine, rule: str
) -> None:
    nft(tidy, filtered("forward", rule))
    both = make_config(gateway={"local_networks": (IPv4Network("10.1.0.0/16"), SECOND)})

    assert {finding.code for finding in tidy.findings(both)} == {"ForwardDropped"}
    assert str(SECOND) in tidy.findings(both)[0].text


def test_with_too_many_rules_it_is_said_how_many_packets_were_tried(tidy: Machine) -> None:
    nft(tidy, filtered("forward", *(f"ip saddr 198.18.{n >> 8}.{n & 255} drop" for n in range(25_000))))
    locals_ = tuple(IPv4Network((0x0A000000 + (n << 16), 16)) for n in range(1, 8))
    many = make_config(gateway={"local_networks": locals_})
    with tidy.gateway.entered():
        seen = asyncio.run(observe(many, str(tidy.folder / "vpnagent.yaml"), thorough=False))

    [told] = [f for f in filtering(many, seen) if f.code == "NotLookedAt"]

    assert told.subject == "packets"
    assert "80 of " in told.text
