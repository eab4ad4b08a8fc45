"""Never in clear: what an observer on the Internet's side sees, whatever is done to rules and routes."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.namespace import Namespace
from tests.native.prober_process import until
from tests.native.whole_gateway import CLOUD, HOST, SOURCE, Gateway, whole_gateway

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

MARK = """table ip pbr {
    chain pre { type filter hook prerouting priority mangle; iifname lan0 meta mark set 1; }
    chain out { type route hook output priority mangle; ip daddr 100.64.0.0/10 meta mark set 1; }
}
"""
ELSEWHERE = "route add default via 198.51.100.1 table 100"
NOT_WG = "rule add not fwmark 0xca6c lookup 100 priority 100"
DIVERSIONS = {
    "an inverted mark, as wg-quick has": (ELSEWHERE, NOT_WG),
    "a source": (ELSEWHERE, "rule add from 10.1.0.0/16 lookup 100 priority 100"),
    "an interface": (ELSEWHERE, "rule add iif lan0 lookup 100 priority 100"),
    "an inverted destination": (ELSEWHERE, "rule add not to 10.1.0.0/16 lookup 100 priority 100"),
    "an inverted source": (ELSEWHERE, "rule add not from 192.0.2.0/24 lookup 100 priority 100"),
    "a mark that the packet filter sets": (ELSEWHERE, "rule add fwmark 1 lookup 100 priority 100"),
    "a protocol": (ELSEWHERE, "rule add ipproto icmp lookup 100 priority 100"),
    "past the main table": (
        "route add default via 198.51.100.1 table 253",
        "rule add goto 32767 priority 100",
    ),
    "a route in the place of ours": ("route replace 100.64.0.0/10 via 198.51.100.1",),
    "a route before ours": ("route prepend 100.64.0.0/10 via 198.51.100.1",),
    "a narrower route": ("route add 100.100.0.0/16 via 198.51.100.1",),
}
UNDONE = """route flush table 100
route flush table 253
rule flush
rule add priority 32766 lookup main
rule add priority 32767 lookup default
"""
FOREIGN_ROUTES = ("100.64.0.0/10 via 198.51.100.1", "100.100.0.0/16 via 198.51.100.1")


@pytest.fixture(scope="module")
def made() -> Iterator[Gateway]:
    with whole_gateway() as gateway:
        yield gateway


@pytest.fixture(scope="module")
def config(made: Gateway) -> Path:
    written = made.configure(agent="  leak_guard: drop", connection="    exits: []\n    mtu: 1399")
    made.daemon(written)
    return written


@pytest.fixture
def world(made: Gateway, config: Path) -> Iterator[Gateway]:
    """The world at its beginning; the observer must have seen nothing at the end."""
    made.far.nft("reset counters table ip observer")
    yield made
    undo(made)
    until(lambda: made.ping(made.lan, CLOUD) == 5, within=20, every=0.2)
    assert made.in_clear() == 0


def undo(world: Gateway) -> None:
    world.gw.ip(UNDONE)
    for route in FOREIGN_ROUTES:
        quietly(world.gw, f"route delete {route}")
    quietly(world.gw, "link set lan0 up")
    quietly(world.gw, "address add 10.1.0.1/24 dev lan0")
    subprocess.run(
        ["ip", "netns", "exec", world.gw.name, "nft", "delete table ip pbr"], check=False, capture_output=True
    )


def quietly(namespace: Namespace, command: str) -> None:
    subprocess.run(["ip", "-n", namespace.name, *command.split()], check=False, capture_output=True)


def stopped(world: Gateway, direction: str) -> int:
    found = re.search(r"packets (\d+)", world.gw.nft(f"list counter inet vpnagent clear_text_{direction}"))
    assert found
    return int(found[1])


def codes(world: Gateway, config: Path) -> dict[str, str]:
    return {warning["code"]: warning["subject"] for warning in world.status(config)["warnings"]}


@pytest.mark.parametrize("commands", DIVERSIONS.values(), ids=DIVERSIONS.keys())
def test_what_is_led_elsewhere_is_stopped_and_counted(
    world: Gateway, config: Path, commands: tuple[str, ...]
) -> None:
    before = stopped(world, "out")
    world.nft(MARK)
    world.gw.ip("\n".join(commands))
    assert world.ping(world.lan, CLOUD) == 0
    assert stopped(world, "out") >= before + 5
    assert world.in_clear() == 0
    until(lambda: codes(world, config).get("ClearTextStopped") == "out", within=10, every=0.3)


@pytest.mark.parametrize("commands", DIVERSIONS.values(), ids=DIVERSIONS.keys())
def test_the_route_of_what_is_led_elsewhere_is_told_to_be_diverted(
    world: Gateway, config: Path, commands: tuple[str, ...]
) -> None:
    def state() -> str:
        told = {route["prefix"]: route["state"] for route in world.status(config)["routes"]}
        assert told["172.16.0.0/16"] in ("installed", "diverted")
        return str(told["100.64.0.0/10"])

    assert state() == "installed"
    world.gw.ip("\n".join(commands))
    if commands in (DIVERSIONS["a mark that the packet filter sets"], DIVERSIONS["a narrower route"]):
        time.sleep(2)  # of a mark, and of a part of a network, other findings tell
        assert state() == "installed"
        return
    until(lambda: state() == "diverted", within=10, every=0.2)
    [text] = [
        warning["text"]
        for warning in world.status(config)["warnings"]
        if (warning["code"], warning["subject"]) == ("RouteDiverted", "100.64.0.0/10")
    ]
    assert "go out by eth0 and not into a tunnel: the route " in text
    undo(world)
    until(lambda: state() == "installed", within=10, every=0.2)


def test_the_gateways_own_packets_are_stopped_too(world: Gateway, config: Path) -> None:
    world.nft(MARK)
    world.gw.ip(f"{ELSEWHERE}\nrule add fwmark 1 lookup 100 priority 100")
    assert world.ping(world.gw, CLOUD) == 0
    assert world.in_clear() == 0


def test_what_came_out_of_a_tunnel_stays_inside_where_a_route_is_missing(
    world: Gateway, config: Path
) -> None:
    before = stopped(world, "in")
    assert world.ping(world.far, "10.1.9.9", "-I", SOURCE) == 0
    assert stopped(world, "in") == before + 5
    until(lambda: "ClearTextStopped" in codes(world, config), within=10, every=0.3)


@pytest.mark.parametrize(
    "commands", [("link set lan0 down",), ("link set lan0 down", "address flush dev lan0")]
)
def test_what_came_out_of_a_tunnel_stays_inside_without_the_lan(
    world: Gateway, config: Path, commands: tuple[str, ...]
) -> None:
    world.gw.ip("\n".join(commands))
    for _ in range(5):
        assert world.ping(world.far, HOST, "-I", SOURCE, count=20) == 0
    until(lambda: codes(world, config).get("NoWayToLan") == "10.1.0.0/16", within=10, every=0.3)


def test_the_lan_is_let_in_again_when_it_is_back(world: Gateway, config: Path) -> None:
    world.gw.ip("link set lan0 down\naddress flush dev lan0")
    time.sleep(0.5)
    world.gw.ip("link set lan0 up\naddress add 10.1.0.1/24 dev lan0")
    until(lambda: world.ping(world.far, HOST, "-I", SOURCE) == 5, within=5, every=0.1)


def test_a_lan_that_moves_to_another_interface_is_followed(world: Gateway, config: Path) -> None:
    world.gw.ip("link add lan1 type veth peer name l1")
    try:
        world.gw.ip("address add 10.200.0.1/24 dev lan1\nlink set lan1 up\nlink set l1 up")
        world.gw.ip("route add 10.1.7.0/24 via 10.200.0.2 dev lan1")
        until(lambda: '"lan1"' in world.gw.nft("list set inet vpnagent local_side"), within=1, every=0.02)
    finally:
        world.gw.ip("link delete lan1")


def test_a_healthy_gateway_stops_nothing_whatever_is_reloaded(world: Gateway, config: Path) -> None:
    """Networks come and go, a tunnel gets another name, an interface is made anew: no packet is lost."""
    world.ping(world.far, "10.1.9.9", "-I", SOURCE)
    before = stopped(world, "out"), stopped(world, "in")
    assert before[1] >= 5  # the counters go on through all of it
    text = config.read_text()
    stream = subprocess.Popen(
        ["ip", "netns", "exec", world.lan.name, "ping", "-n", "-i", "0.01", "-c", "600", CLOUD],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        for old, new in (
            ("[100.64.0.0/10, 172.16.0.0/16]", "[100.64.0.0/10, 172.16.0.0/16, 192.168.77.0/24]"),
            ("leak_guard: drop", "leak_guard: count"),
            ("exits: []", "exits: [eth0]"),
            ("mtu: 1399", "mtu: 1380"),
        ):
            config.write_text(text.replace(old, new))
            assert world.vpnagent("reload", config=config).returncode == 0
            time.sleep(0.5)
    finally:
        config.write_text(text)
        world.vpnagent("reload", config=config)
    out = stream.communicate(timeout=30)[0]
    assert "600 received" in out
    assert (stopped(world, "out"), stopped(world, "in")) == before


def test_the_table_is_put_back_whole_and_the_count_goes_on(world: Gateway, config: Path) -> None:
    def whole() -> bool:
        text = world.gw.nft("list ruleset")
        return 'counter name "clear_text_out" drop' in text and "local_side rt ipsec missing" in text

    for damage in (
        "flush ruleset",
        "flush chain inet vpnagent outward",
        "flush set inet vpnagent remote_networks",
        "delete element inet vpnagent local_side { lan0 }",
        "add element inet vpnagent tunnels { eth0 }",
        "add table inet vpnagent { flags dormant; }",
    ):
        world.nft(damage + "\n")
        until(whole, within=3, every=0.02)
        until(lambda: "eth0" not in world.gw.nft("list table inet vpnagent"), within=3, every=0.02)
        world.gw.ip("route replace 100.64.0.0/10 via 198.51.100.1")
        assert world.ping(world.lan, CLOUD) == 0
        undo(world)
        until(lambda: world.ping(world.lan, CLOUD) == 5, within=20, every=0.2)


def test_counting_lets_pass_and_tells() -> None:
    with whole_gateway("second") as world:
        config = world.configure(agent="  leak_guard: count")
        world.daemon(config)
        world.gw.ip("route replace 100.64.0.0/10 via 198.51.100.1")
        world.ping(world.lan, CLOUD)
        assert world.in_clear() > 0
        assert stopped(world, "out") >= 5
        until(lambda: "ClearTextStopped" in codes(world, config), within=10, every=0.3)


def test_an_exit_that_is_meant_is_let_pass_and_off_is_off() -> None:
    with whole_gateway("second") as world:
        config = world.configure(connection="    exits: [eth0]")
        daemon = world.daemon(config)
        world.gw.ip("route replace 100.64.0.0/10 via 198.51.100.1")
        world.ping(world.lan, CLOUD)
        assert world.in_clear() > 0
        assert stopped(world, "out") == 0
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(20)
        world.gw.ip("route del 100.64.0.0/10 via 198.51.100.1")  # without `exits` it is a route diverted
        world.configure(agent="  leak_guard: off")
        world.daemon(config)
        assert "outward" not in world.gw.nft("list table inet vpnagent")
        assert world.vpnagent("down", config=config).returncode == 0
        assert world.gw.nft("list tables") == ""
