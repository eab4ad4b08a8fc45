"""What a connection says for itself counts for it alone, and what it leaves to others is theirs."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from tests.config_examples import make_config, make_connection, make_tunnel

from vpnagent.checks.observation import Observation
from vpnagent.commands.explain.reasoning import kind_of
from vpnagent.commands.export.swanctl import swanctl
from vpnagent.commands.export.terraform import terraform
from vpnagent.config.rules import violations
from vpnagent.config.values import Config, Connection, Role, TrafficSelectors, TunnelKey
from vpnagent.daemon.probe_wiring import group_routes, intent
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.policy.desired import desired
from vpnagent.policy.selection import Verdict
from vpnagent.routing.objects import KernelObjects, KernelState
from vpnagent.status.document import status
from vpnagent.witness.machine import machine_of
from vpnagent.witness.questions import pairs

LAN, LAB = IPv4Network("10.1.0.0/16"), IPv4Network("10.2.0.0/16")
VPC, OTHER_VPC = IPv4Network("172.16.0.0/16"), IPv4Network("172.20.0.0/16")
HERE, THERE = IPv4Address("10.1.0.1"), IPv4Address("10.2.0.1")


NOTHING_SEEN = KernelState(
    objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
)


def connection(name: str, number: int, network: IPv4Network, **own: Any) -> Connection:
    probe = replace(make_tunnel(1).probe, targets=(network[10],))
    return make_connection(
        name=name,
        remote_networks=(network,),
        traffic_selectors=TrafficSelectors.NETWORKS,
        tunnels=(
            make_tunnel(
                number, key=TunnelKey(name, "one"), role=Role.ACTIVE, inside_address=None, probe=probe
            ),
        ),
        **own,
    )


def of(config: Config, name: str) -> Any:
    """Return all that is made of one connection, wherever its networks and its source count."""
    keys = {t.key for t in config.tunnels()}
    made = desired(config, dict.fromkeys(keys, Verdict(child_sa_installed=True)))
    wanted = intent(config, verdicts={}, statuses={}, kernel=NOTHING_SEEN, paths={}, ike_ping=False)
    [network] = next(c.remote_networks for c in config.connections if c.name == name)
    shown = status(Knowledge(config=config, loaded_at=0.0))["connections"]
    return {
        "selectors": [
            (c.local_ts, c.remote_ts) for c in made.connections.values() if c.key.connection == name
        ],
        "source": [r.source for r in made.kernel.routes.values() if r.prefix == network and r.group],
        "probes": [t.source for c in wanted.connections if c.name == name for t in c.tunnels],
        "groups": [g.source for g in group_routes(config) if g.prefixes == str(network)],
        "witness": [(p.local, p.remote) for p in pairs(config) if p.connection == name],
        "status": [c["networks"] for c in shown if c["name"] == name],
        "terraform": [
            line for line in terraform(config).splitlines() if "_subnet" in line and str(network) in line
        ],
        "swanctl": [
            line for line in swanctl(config).splitlines() if "local_ts" in line or str(network) in line
        ],
        "machine": sorted(machine_of(config, Observation()).hosts),
    }


def one(networks: tuple[IPv4Network, ...], source: IPv4Address, *connections: Connection) -> Config:
    return replace(
        make_config(gateway={"local_networks": networks, "source_address": source}), connections=connections
    )


def test_networks_and_source_of_its_own_are_as_if_the_gateway_had_them() -> None:
    spelled = one((LAN,), HERE, connection("b", 2, OTHER_VPC, local_networks=(LAB,), source_address=THERE))
    plain = one((LAB,), THERE, connection("b", 2, OTHER_VPC))
    found, expected = of(spelled, "b"), of(plain, "b")
    assert (found.pop("machine"), expected.pop("machine")) == ([LAN, LAB], [LAB])
    assert found == expected
    assert violations(spelled) == violations(plain) == []


def test_the_other_connections_do_not_notice() -> None:
    first = connection("a", 1, VPC)
    alone = of(one((LAN,), HERE, first), "a")
    second = connection("b", 2, OTHER_VPC, local_networks=(LAB,), source_address=THERE)
    both = of(one((LAN,), HERE, first, second), "a")
    both["machine"], both["swanctl"] = alone["machine"], alone["swanctl"]
    assert both == alone


def test_what_is_on_premises_for_one_connection_is_on_premises() -> None:
    config = one((LAN,), HERE, connection("b", 2, OTHER_VPC, local_networks=(LAB,), source_address=THERE))
    assert config.local_networks() == (LAN, LAB)
    assert kind_of(config, LAB[7], local=False).value == "on premises"


@pytest.mark.parametrize("networks", [(), (LAN,)])
def test_the_gateways_networks_written_out_are_the_gateways(networks: tuple[IPv4Network, ...]) -> None:
    config = one((LAN,), HERE, connection("a", 1, VPC, local_networks=networks))
    assert of(config, "a") == of(one((LAN,), HERE, connection("a", 1, VPC)), "a")
