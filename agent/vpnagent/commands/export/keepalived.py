"""keepalived.conf of one gateway of a pair. Pure.

An instance of VRRP for the LAN, one for each network in which addresses of tunnels move, and one group, so
that they move together. Every word is of keepalived.conf(5), tried with keepalived 2.2.7.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final, NamedTuple

from vpnagent.config.values import Config, Device, GatewayPair, PairNode
from vpnagent.config.wording import Violation, said
from vpnagent.pair.health import PATIENCE, health_file
from vpnagent.pair.roles import moves

INDENT: Final = "    "
PRIORITIES: Final = {Device.A: 150, Device.B: 100}
ADVERTISEMENT: Final = 0.1  #: seconds; three and a little of silence are a dead gateway (RFC 5798 §6.1)

HEADER: Final = """\
# keepalived.conf of {name}, by `vpnagent export keepalived --node {node}`: /etc/keepalived/keepalived.conf.
# The other gateway needs its own. Nothing of vpnagent is called: it sees the addresses come and go.
"""


class Instance(NamedTuple):
    """What moves in one network."""

    interface: str
    addresses: tuple[IPv4Address, ...]
    own: IPv4Address
    others: IPv4Address


def keepalived(config: Config, device: Device, *, first_id: int, realtime: bool) -> str:
    """Return the file; ``unready`` must have found nothing. ``first_id``: the LAN's virtual router id."""
    pair = pair_of(config)
    node, found = pair.node(device), [*instances(config, device)]
    names = [f"vpnagent_{instance.interface}" for instance in found]
    lines = [
        *_block("global_defs", _globals(node, realtime=realtime)),
        f"# 0, or in fault when charon has not answered for {PATIENCE:g} s",
        *_block("track_file vpnagent", [f'file "{health_file(config.agent.control_socket)}"', "weight 1"]),
        *_block(
            "vrrp_sync_group vpnagent",
            ["group {", *(INDENT + name for name in names), "}", "track_file {", f"{INDENT}vpnagent", "}"],
        ),
    ]
    for number, (name, instance) in enumerate(zip(names, found, strict=True), first_id):
        lines += _block(f"vrrp_instance {name}", _instance(instance, device, number))
    return HEADER.format(name=node.name, node=device.value) + "\n".join(lines) + "\n"


def unready(config: Config) -> Iterator[Violation]:
    """Yield what the file lacks for it."""
    pair = config.gateway.pair
    if pair is None:
        yield Violation(("gateway", "pair"), said("is required: without it there is nothing to move"))
        return
    if not pair.virtual_addresses:
        path = ("gateway", "pair", "virtual_addresses")
        yield Violation(path, said("is required: what the hosts of the LAN have for a gateway"))
    if len(config.gateway.local_interfaces) != 1:
        yield Violation(("gateway", "local_interfaces"), said("must be one: that of the virtual_addresses"))
    for index, connection in enumerate(config.connections):
        for number, tunnel in enumerate(connection.tunnels):
            if moves(tunnel, config) and _uplink_of(pair, tunnel.uplink) is None:
                place = ("connections", index, "tunnels", number, "local_address")
                text = "moves by {}, which must be one of the uplinks of both nodes"
                yield Violation(place, said(text, tunnel.uplink or "an interface that is not named"))


def pair_of(config: Config) -> GatewayPair:
    """Return the pair of a configuration that has one."""
    if config.gateway.pair is None:
        raise ValueError("no pair is configured")
    return config.gateway.pair


def instances(config: Config, device: Device) -> Iterator[Instance]:
    """Yield what one gateway shares with the other, network by network: the LAN first."""
    pair = pair_of(config)
    own, other = pair.node(device), pair.node(pair.other(device))
    [lan] = config.gateway.local_interfaces
    yield Instance(lan, pair.virtual_addresses, own.address, other.address)
    moving: dict[str, list[IPv4Address]] = {}
    for tunnel in config.tunnels():
        uplink = _uplink_of(pair, tunnel.uplink) if moves(tunnel, config) else None
        if uplink and tunnel.local_address:
            moving.setdefault(uplink, []).append(tunnel.local_address)
    for interface, addresses in moving.items():
        each = tuple(dict.fromkeys(addresses))
        yield Instance(interface, each, _address(own, interface), _address(other, interface))


def _address(node: PairNode, interface: str) -> IPv4Address:
    return next(uplink.address for uplink in node.uplinks if uplink.interface == interface)


def _uplink_of(pair: GatewayPair, named: str | None) -> str | None:
    """Return the interface by which a tunnel's address moves; without a name the only one that there is."""
    of_a, of_b = ([uplink.interface for uplink in node.uplinks] for node in (pair.a, pair.b))
    both = [interface for interface in of_a if interface in of_b]
    if named is None:
        return both[0] if len(both) == 1 else None
    return named if named in both else None


def _globals(node: PairNode, *, realtime: bool) -> Iterator[str]:
    yield f"router_id {node.host}"  # else it asks the DNS for its own name, which may lie behind the tunnels
    yield "vrrp_version 3"
    yield "vrrp_garp_master_delay 0"
    yield "vrrp_garp_master_repeat 2"
    yield "vrrp_garp_master_refresh 1"
    if realtime:
        yield "vrrp_rt_priority 50"
        yield "vrrp_rlimit_rttime 200000"  # the kernel counts ticks: the default, 10 ms, ends it under load


def _instance(instance: Instance, device: Device, number: int) -> Iterator[str]:
    yield "state BACKUP"
    yield "nopreempt"
    yield f"interface {instance.interface}"
    yield f"virtual_router_id {number}"
    yield f"priority {PRIORITIES[device]}"
    yield f"advert_int {ADVERTISEMENT:g}"
    yield f"unicast_src_ip {instance.own}"
    yield from ("unicast_peer {", f"{INDENT}{instance.others}", "}")
    yield "virtual_ipaddress {"
    yield from (f"{INDENT}{address}/32 dev {instance.interface}" for address in instance.addresses)
    yield "}"


def _block(name: str, lines: Iterator[str] | list[str]) -> list[str]:
    return [f"{name} {{", *(INDENT + line for line in lines), "}", ""]
