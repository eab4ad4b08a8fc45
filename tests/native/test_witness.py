"""Whether hosts reach the cloud is told, whatever the tunnels say: one law a test, on a real kernel."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from tests.native.prober_process import until
from tests.native.whole_gateway import CLOUD, Gateway, whole_gateway

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

Status = dict[str, Any]
DIVERT = "route add default via 198.51.100.1 table 100"
MARK = """table ip pbr {
  chain pre { type filter hook prerouting priority mangle; iifname lan0 meta mark set 1; }
}
"""


class Hosts:
    """Hosts behind a gateway whose daemon is real: what they reach, and what the gateway says of it."""

    def __init__(self, made: Gateway, config: Path) -> None:
        self._made, self._config = made, config
        self.gateway, self.lan = made.gw, made.lan
        self.log = config.parent / "log"

    def command(self, *words: str) -> CompletedProcess[str]:
        """Run ``vpnagent`` on the gateway."""
        return self._made.vpnagent(*words, config=self._config)

    def status(self) -> Status:
        return self._made.status(self._config)

    def status_when(self, holds: Callable[[Status], bool]) -> Status:
        """Return the first status that is as wanted."""
        seen: Status = {}

        def held() -> bool:
            nonlocal seen
            seen = self.status()
            return bool(seen and holds(seen))

        try:
            until(held, within=30, every=0.2)
        except AssertionError:
            raise AssertionError(seen, self.log.read_text()[-2000:]) from None
        return seen

    def checked(self) -> list[Status]:
        """Return what ``check`` finds, but infos."""
        told: list[Status] = json.loads(self.command("check", "--json").stdout)["findings"]
        return [finding for finding in told if finding["severity"] != "info"]

    def reached(self) -> bool:
        """Whether a host of the LAN reaches the cloud."""
        return self._made.ping(self.lan, CLOUD, count=1) == 1

    def sysctl(self, key: str, value: str) -> None:
        """Set a setting of the gateway."""
        self.gateway.run(f"sysctl -qw {key}={value}")


@contextmanager
def hosts_behind(*narrowed: str) -> Iterator[Hosts]:
    """Make the world, its daemon up; what comes by the uplink, in clear, gets no answer."""
    with whole_gateway(lan_length=16) as made:
        made.far.run("sysctl -qw net.ipv4.conf.e0.rp_filter=1")
        config = made.configure()
        made.daemon(config, *narrowed, up=False)
        hosts = Hosts(made, config)
        hosts.status_when(lambda s: bool(narrowed) or is_up(s))
        yield hosts


@pytest.fixture
def world() -> Iterator[Hosts]:
    with hosts_behind() as made:
        yield made


def all_carried(status: Status) -> bool:
    """Whether every network of every connection is carried."""
    return all(network["carried"] for c in status["connections"] for network in c["networks"])


def codes(status: Status, *severities: str) -> set[str]:
    """Return the codes of the warnings with these severities."""
    return {w["code"] for w in status["warnings"] if w["severity"] in severities}


def is_down(status: Status) -> bool:
    return bool(status["state"] == "down" and not all_carried(status))


def is_up(status: Status) -> bool:
    return bool(status["state"] == "up" and all_carried(status))


def reasons(status: Status) -> str:
    return "; ".join(n["reason"] for c in status["connections"] for n in c["networks"])


def all_tunnels_are_up(status: Status) -> bool:
    return all(tunnel["state"] == "up" for c in status["connections"] for tunnel in c["tunnels"])


def test_a_lan_that_is_not_forwarded_takes_the_connection_down_until_it_is(world: Hosts) -> None:
    assert world.reached()
    assert world.command("status").returncode == 0
    assert not codes(world.status(), "warning", "critical")

    world.sysctl("net.ipv4.conf.lan0.forwarding", "0")

    told = world.status_when(is_down)
    assert not world.reached()
    assert all_tunnels_are_up(told)
    assert codes(told, "critical") == {"SysctlHarmful"}
    assert world.command("status").returncode == 1
    assert "NOT CARRIED: net.ipv4.conf.lan0.forwarding is 0" in world.command("explain", "172.16.0.10").stdout
    assert [f["code"] for f in world.checked()] == ["SysctlHarmful"]

    world.sysctl("net.ipv4.conf.lan0.forwarding", "1")

    world.status_when(is_up)
    assert world.reached()


def test_our_own_interfaces_forward_whatever_they_inherited(world: Hosts) -> None:
    for name in ("vpn-primary", "vpn-backup"):
        world.sysctl(f"net.ipv4.conf.{name}.forwarding", "0")

    deadline = time.monotonic() + 10
    while world.gateway.run("sysctl -n net.ipv4.conf.vpn-primary.forwarding").strip() != "1":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    world.status_when(is_up)
    assert world.reached()


def test_a_source_that_has_left_costs_no_host_and_is_taken_up_again(world: Hosts) -> None:
    world.gateway.ip("address add 10.1.0.2/16 dev lan0")
    world.sysctl("net.ipv4.conf.lan0.promote_secondaries", "1")
    world.lan.ip("route replace default via 10.1.0.2")
    assert "src 10.1.0.1" in world.gateway.ip("route show 100.64.0.0/10")

    world.gateway.ip("address delete 10.1.0.1/16 dev lan0")

    told = world.status_when(lambda s: "SourceAddressMissing" in codes(s, "warning") and is_up(s))
    assert "KernelRefused" not in codes(told, "critical")
    routes = world.gateway.ip("route show 100.64.0.0/10")
    assert "nhid" in routes
    assert "src" not in routes
    assert world.reached()

    world.gateway.ip("address add 10.1.0.1/16 dev lan0")

    world.status_when(lambda s: "SourceAddressMissing" not in codes(s, "warning") and is_up(s))
    assert "src 10.1.0.1" in world.gateway.ip("route show 100.64.0.0/10")


@pytest.mark.parametrize(
    "rule",
    [
        "not from all fwmark 0xca6c lookup 100",
        "from 10.1.0.0/16 lookup 100",
        "from all iif lan0 lookup 100",
        "not from 198.51.100.0/24 iif lan0 lookup 100",
        "from all to 100.64.0.0/10 unreachable",
    ],
)
def test_a_rule_that_diverts_the_hosts_is_named_and_takes_the_connection_down(
    world: Hosts, rule: str
) -> None:
    world.gateway.ip(DIVERT)
    world.gateway.ip(f"rule add priority 100 {rule}")

    told = world.status_when(is_down)

    assert not world.reached()
    assert "100: " in reasons(told), reasons(told)
    assert f"100: {rule}" in "; ".join(w["text"] for w in told["warnings"])
    assert {"NetworkNotCarried", "NoWayToLan"} & {f["code"] for f in world.checked()}
    world.gateway.ip("rule del priority 100")
    world.status_when(is_up)


def test_a_mark_that_the_packet_filter_sets_is_followed(world: Hosts) -> None:
    if shutil.which("nft") is None:
        pytest.skip("nft is not installed: ./dev setup installs it")
    world.gateway.ip(DIVERT)
    world.gateway.ip("rule add priority 100 fwmark 1 lookup 100")
    told = world.status_when(lambda s: "TrafficAstray" in codes(s, "info"))
    assert is_up(told)
    assert world.reached()

    world.gateway.nft(MARK)

    told = world.status_when(is_down)
    assert not world.reached()
    assert "mark 0x1" in reasons(told)
    assert "fwmark 0x1 lookup 100" in reasons(told)
    assert "NetworkNotCarried" in {f["code"] for f in world.checked()}


def test_a_protocol_that_a_rule_diverts_is_told_and_the_connection_is_degraded(world: Hosts) -> None:
    world.gateway.ip(DIVERT)
    world.gateway.ip("rule add priority 100 ipproto icmp lookup 100")

    told = world.status_when(lambda s: "TrafficAstray" in codes(s, "critical"))

    assert told["state"] == told["connections"][0]["state"] == "degraded"
    network = told["connections"][0]["networks"][0]
    assert network["carried"]
    assert "ipproto 1 lookup 100" in network["reason"]
    assert "TrafficAstray" in {f["code"] for f in world.checked()}


def test_a_route_of_others_in_our_place_takes_the_connection_down(world: Hosts) -> None:
    world.gateway.ip("route replace 100.64.0.0/10 via 198.51.100.1")

    told = world.status_when(is_down)

    assert {n["remote"]: n["carried"] for n in told["connections"][0]["networks"]} == {
        "100.64.0.0/10": False,
        "172.16.0.0/16": True,
    }
    assert not world.reached()
    world.gateway.ip("route del 100.64.0.0/10 via 198.51.100.1")
    world.status_when(is_up)


def test_without_a_way_to_the_lan_its_networks_are_not_carried(world: Hosts) -> None:
    world.gateway.ip("link set lan0 down")

    told = world.status_when(is_down)

    assert "only a default route leads to" in reasons(told)
    assert {"NoWayToLan"} <= codes(told, "critical")
    assert "NoWayToLan" in {f["code"] for f in world.checked()}
    world.gateway.ip("link set lan0 up")
    world.status_when(is_up)


def test_the_answers_that_strict_filtering_drops_are_told(world: Hosts) -> None:
    world.gateway.ip("rule add priority 100 iif vpn-primary lookup 100")
    world.gateway.ip(DIVERT)

    told = world.status_when(is_down)

    assert not world.reached()
    assert "an answer of" in reasons(told)
    assert "NoWayToLan" in codes(told, "critical")


def test_a_moment_without_a_route_is_not_told(world: Hosts) -> None:
    for _ in range(5):
        world.gateway.ip("route flush proto 86")
        told = world.status()
        assert told["connections"][0]["networks"], told
        time.sleep(0.3)
    world.status_when(is_up)
    assert "NetworkNotCarried" not in world.log.read_text()


def test_what_the_cloud_narrowed_is_not_carried_and_explain_says_what_was_negotiated() -> None:
    with hosts_behind("10.1.0.0/16", "172.16.0.0/16") as world:
        told = world.status_when(lambda s: "SelectorsNarrowed" in codes(s, "critical"))

        assert told["state"] == "down"
        assert all_tunnels_are_up(told)
        assert {n["remote"]: n["carried"] for n in told["connections"][0]["networks"]} == {
            "100.64.0.0/10": False,
            "172.16.0.0/16": True,
        }
        said = world.command("explain", "100.100.2.136").stdout
        assert "DO NOT COVER IT: 10.1.0.0/16 === 172.16.0.0/16 (negotiated)" in said
        assert "cover it: 10.1.0.0/16 === 172.16.0.0/16 (negotiated)" in (
            world.command("explain", "172.16.0.10").stdout
        )
