"""`vpnagent explain` in a namespace whose routes are real; another one stands for the cloud."""

import contextlib
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from lab.namespace import Namespace, namespace
from tests.config_examples import EXAMPLE_YAML, make_config
from tests.listening import listening

from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.routing.objects import GUARD_METRIC
from vpnagent.status.document import status

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

OSS = "100.118.28.5"
RDS = "172.16.0.10"
NAME = "oss-cn-hangzhou-internal.aliyuncs.com"

ROUTER = f"""\
link set vpn-hz-1 up
link set vpn-hz-2 up
address add 10.1.0.1/16 dev lan
link set lan up
nexthop add id 1 dev vpn-hz-1
nexthop add id 2 dev vpn-hz-2
route add 100.64.0.0/10 nhid 1 src 10.1.0.1 protocol {PROTOCOL}
route add unreachable 100.64.0.0/10 metric {GUARD_METRIC} protocol {PROTOCOL}
route add unreachable 172.16.0.0/16 metric {GUARD_METRIC} protocol {PROTOCOL}
"""
CLOUD = f"""\
address add {OSS}/32 dev lo
address add {RDS}/32 dev lo
link set cloud-1 up
link set cloud-2 up
link set far up
route add 10.1.0.1 dev cloud-1
"""


class Gateway:
    """The namespace of a gateway with two tunnels' interfaces, to the cloud's namespace."""

    def __init__(self, there: Namespace, cloud: Namespace, directory: pathlib.Path) -> None:
        self.there, self.cloud = there, cloud
        self.config = directory / "vpnagent.yaml"
        self.socket = directory / "control.sock"
        self.config.write_text(f"{EXAMPLE_YAML}agent: {{control_socket: {self.socket}}}\n")

    def run(self, target: str, *options: str, prefix: str = "") -> tuple[int, str, str]:
        """Run explain; return exit status, standard output, standard error."""
        done = subprocess.run(
            [
                *["ip", "netns", "exec", self.there.name, *prefix.split()],
                *[
                    sys.executable,
                    "-m",
                    "vpnagent",
                    "explain",
                    target,
                    "--config",
                    str(self.config),
                    *options,
                ],
            ],
            check=False,
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout, done.stderr

    def explain(self, target: str, *, prefix: str = "") -> tuple[int, Any]:
        """Return the exit status and the JSON."""
        code, out, _ = self.run(target, "--json", prefix=prefix)
        return code, json.loads(out)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with namespace("explain") as there, namespace("explain-cloud") as cloud:
        for name, peer in (("vpn-hz-1", "cloud-1"), ("vpn-hz-2", "cloud-2"), ("lan", "far")):
            there.ip(f"link add {name} mtu 1399 type veth peer name {peer} netns {cloud.name}")
        cloud.ip(CLOUD)
        there.ip(ROUTER)  # second: a nexthop needs its interface's carrier
        names = pathlib.Path("/etc/netns") / there.name
        names.mkdir(parents=True)
        try:
            (names / "hosts").write_text(f"{OSS} {NAME}\n198.51.100.77 oss-cn-hangzhou.aliyuncs.com\n")
            (names / "resolv.conf").write_text("nameserver 127.0.0.1\n")
            yield Gateway(there, cloud, tmp_path_factory.mktemp("explain"))
        finally:
            for file in names.iterdir():
                file.unlink()
            names.rmdir()
            with contextlib.suppress(OSError):
                names.parent.rmdir()


@pytest.fixture
def routed(gateway: Gateway) -> Iterator[Callable[[str], None]]:
    """Yield what adds a route or a rule, to be removed again: ``routed("rule add …")``."""
    added: list[str] = []

    def add(command: str) -> None:
        gateway.there.ip(command)
        added.append(command.replace(" add ", " del ", 1))

    yield add
    for command in reversed(added):
        gateway.there.ip(command)


def test_it_tells_the_way_that_the_kernel_gives_and_the_answer(gateway: Gateway) -> None:
    code, told = gateway.explain(OSS)
    assert (code, told["findings"]) == (0, [])
    [found] = told["addresses"]
    assert (found["kind"], found["service"]) == ("cloud-service", {"name": "OSS", "region": "cn-hangzhou"})
    assert (found["prefix"], found["tunnel"]) == ("100.64.0.0/10", "hangzhou/primary")
    route = found["route"]
    assert (route["interface"], route["source"], route["mtu"]) == ("vpn-hz-1", "10.1.0.1", 1399)
    assert (route["prefix"], route["table"], route["protocol"]) == ("100.64.0.0/10", 254, PROTOCOL)
    assert (found["answer"]["method"], found["answer"]["outcome"]) == ("ICMP echo", "answered")


def test_the_other_tunnel_is_told_when_the_kernel_chooses_it(
    gateway: Gateway, routed: Callable[[str], None]
) -> None:
    routed(f"route add {OSS}/32 nhid 2 src 10.1.0.1 mtu 1280")
    _, told = gateway.explain(OSS)
    [found] = told["addresses"]
    assert (found["tunnel"], found["route"]["mtu"]) == ("hangzhou/backup", 1280)


def test_a_name_is_resolved_as_this_gateway_does(gateway: Gateway) -> None:
    code, told = gateway.explain(NAME)
    assert code == 0
    assert [found["address"] for found in told["addresses"]] == [OSS]


def test_a_public_name_has_its_internal_one_named(gateway: Gateway) -> None:
    code, told = gateway.explain("oss-cn-hangzhou.aliyuncs.com")
    assert code == 1
    hints = {finding["code"]: finding["hint"] for finding in told["findings"]}
    assert hints["public-name"] == f"use {NAME}"


def test_a_name_without_an_answer_is_one_for_dns_forwarding(gateway: Gateway) -> None:
    code, told = gateway.explain("b.oss-cn-beijing-internal.aliyuncs.com:443")
    assert (code, told["addresses"]) == (1, [])
    [finding] = told["findings"]
    assert finding["code"] == "unresolved"
    assert "100.100.2.136" in finding["hint"]


def test_a_port_is_asked_by_tcp(gateway: Gateway) -> None:
    code, told = gateway.explain(f"{OSS}:443")
    assert (code, told["addresses"][0]["answer"]["outcome"]) == (1, "refused")
    program = "import socket; s = socket.create_server(('', 443)); print(flush=True); s.accept()"
    with subprocess.Popen(
        ["ip", "netns", "exec", gateway.cloud.name, sys.executable, "-c", program], stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()
        code, told = gateway.explain(f"{OSS}:443")
    assert (code, told["addresses"][0]["answer"]["outcome"]) == (0, "answered")
    assert told["addresses"][0]["answer"]["rtt_seconds"] < 1


def test_the_guard_means_that_no_tunnel_carries_it(gateway: Gateway) -> None:
    code, told = gateway.explain(RDS)
    assert code == 1
    assert [finding["code"] for finding in told["findings"]] == ["no-tunnel"]


def test_a_foreign_route_that_wins_is_found(gateway: Gateway, routed: Callable[[str], None]) -> None:
    routed("route add 100.118.0.0/16 dev lan protocol static")
    code, told = gateway.explain(OSS)
    [finding] = [finding for finding in told["findings"] if finding["code"] == "bypass"]
    assert code == 1
    assert "lan" in finding["text"]
    assert "100.118.0.0/16" in finding["text"]


def test_a_rule_that_goes_to_tailscale_s_table_is_found(
    gateway: Gateway, routed: Callable[[str], None]
) -> None:
    routed("route add 100.64.0.0/10 dev lan table 52")
    routed("rule add priority 5270 lookup 52")
    _, told = gateway.explain(OSS)
    hints = {finding["code"]: finding["hint"] for finding in told["findings"]}
    assert "5270" in hints["bypass"]


def test_an_address_that_this_machine_has_is_a_conflict(
    gateway: Gateway, routed: Callable[[str], None]
) -> None:
    routed("address add 100.100.2.136/32 dev lan")
    _, told = gateway.explain("100.100.2.136")
    assert "bypass" in {finding["code"] for finding in told["findings"]}
    assert told["addresses"][0]["route"]["local"] is True


def test_silence_behind_the_tunnel_is_told_in_time(gateway: Gateway) -> None:
    gateway.cloud.ip("route del 10.1.0.1")
    try:
        code, told = gateway.explain(OSS)
    finally:
        gateway.cloud.ip("route add 10.1.0.1 dev cloud-1")
    assert code == 1
    [finding] = told["findings"]
    assert finding["code"] == "silent"
    assert "custom advertised route 100.64.0.0/10" in finding["hint"]


def test_with_the_daemon_the_tunnel_s_state_is_told(gateway: Gateway) -> None:
    async def answer(_request: dict[str, Any]) -> Any:
        return status(Knowledge(config=make_config(), loaded_at=0.0))

    assert gateway.explain(OSS)[1]["addresses"][0]["tunnel_state"] is None
    with listening(gateway.socket, answer):
        code, told = gateway.explain(OSS)
    assert (code, told["remark"]) == (1, None)
    assert told["addresses"][0]["tunnel_state"] == "init"
    assert [finding["code"] for finding in told["findings"]] == ["tunnel-not-up"]


def test_without_privileges_all_but_the_echo_request_goes(gateway: Gateway) -> None:
    code, told = gateway.explain(OSS, prefix="setpriv --bounding-set -net_raw,-net_admin")
    [found] = told["addresses"]
    assert (code, found["tunnel"]) == (0, "hangzhou/primary")
    assert found["answer"]["outcome"] == "not-asked"


def test_people_get_it_in_words(gateway: Gateway) -> None:
    code, out, err = gateway.run(f"{NAME}:443")
    assert (code, err) == (1, "")
    assert f"{NAME}:443: {OSS}" in out
    assert "hangzhou/primary by vpn-hz-1" in out
    assert "cover it: 0.0.0.0/0 === 0.0.0.0/0" in out
    assert "without the states of the tunnels: the daemon does not run" in out


@pytest.mark.parametrize("target", ["a b", "::1", "10.0.0.0.1", "a:99999"])
def test_nonsense_is_a_usage_error_of_one_line(gateway: Gateway, target: str) -> None:
    code, out, err = gateway.run(target)
    assert (code, out, len(err.splitlines())) == (2, "", 1)
