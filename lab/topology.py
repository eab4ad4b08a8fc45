"""The lab's network: an IDC, its gateway, two internet paths, the cloud's two zones, and a VPC behind them.

    idc 10.1.0.10 -- gw -+- wan-a 192.0.2.2 ---- net-a -- 203.0.113.1 zone1 -+- vpc -- ecs 172.16.0.10
                10.1.0.1 +- wan-b 198.51.100.2 - net-b -- 203.0.113.2 zone2 -+           100.100.2.136

The gateway's default route leads to net-a: whatever misses the tunnels leaves in clear, and is seen there.
Each zone ends its tunnel on an XFRM interface; which zone returns traffic is the cloud's decision (cloud.py).
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Literal

from lab.namespace import Namespace, ip
from pyroute2 import IPRoute

IDC_NETWORK = "10.1.0.0/16"
IDC_HOST = "10.1.0.10"
GATEWAY_LAN = "10.1.0.1"
VPC_NETWORK = "172.16.0.0/16"
SERVICE_NETWORK = "100.64.0.0/10"
ECS_HOST = "172.16.0.10"
SERVICE_HOST = "100.100.2.136"
REMOTE_NETWORKS = (SERVICE_NETWORK, VPC_NETWORK)
NEVER_IN_CLEAR = (SERVICE_NETWORK, VPC_NETWORK, IDC_NETWORK)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabTunnel:
    """One of the two tunnels, with the addresses of both ends."""

    number: int
    name: str
    uplink: str
    local: str
    remote: str
    inside_local: str
    inside_remote: str
    psk: str

    @property
    def net(self) -> str:
        """The namespace of the internet path it takes."""
        return f"net-{self.uplink[-1]}"

    @property
    def zone(self) -> str:
        """The namespace of its cloud end."""
        return f"zone{self.number}"


PRIMARY = LabTunnel(
    number=1,
    name="primary",
    uplink="wan-a",
    local="192.0.2.2",
    remote="203.0.113.1",
    inside_local="169.254.10.2",
    inside_remote="169.254.10.1",
    psk="lab-key-of-tunnel-1",
)
BACKUP = LabTunnel(
    number=2,
    name="backup",
    uplink="wan-b",
    local="198.51.100.2",
    remote="203.0.113.2",
    inside_local="169.254.11.2",
    inside_remote="169.254.11.1",
    psk="lab-key-of-tunnel-2",
)
TUNNELS = (PRIMARY, BACKUP)
NAMES = ("idc", "gw", "net-a", "net-b", "zone1", "zone2", "vpc", "ecs")

# (one end, its interface, other end, its interface)
WIRES = (
    ("idc", "lan", "gw", "lan"),
    ("gw", "wan-a", "net-a", "gw"),
    ("gw", "wan-b", "net-b", "gw"),
    ("net-a", "cloud", "zone1", "wan"),
    ("net-b", "cloud", "zone2", "wan"),
    ("zone1", "vpc", "vpc", "zone1"),
    ("zone2", "vpc", "vpc", "zone2"),
    ("vpc", "lan", "ecs", "lan"),
)


@dataclass(frozen=True, slots=True)
class Topology:
    """Every namespace by name, wired and addressed; the tunnels are not in it yet."""

    namespaces: dict[str, Namespace] = field(
        default_factory=lambda: {name: Namespace(name) for name in NAMES}
    )

    def __getitem__(self, name: str) -> Namespace:
        return self.namespaces[name]

    def build(self) -> None:
        """Make namespaces, wires, addresses and routes."""
        ip(*(f"netns add {name}" for name in NAMES))
        ip(
            *(
                f"link add {a_end} netns {a} type veth peer name {b_end} netns {b}"
                for a, a_end, b, b_end in WIRES
            )
        )
        for name, lines in ADDRESSES.items():
            ends = [
                end
                for a, a_end, b, b_end in WIRES
                for end in ((a_end,) * (a == name) + (b_end,) * (b == name))
            ]
            ups = (f"link set {end} up" for end in ("lo", *ends))
            self[name].ip(*ups, *lines)
            self[name].sysctl(conf__all__rp_filter=0, conf__default__rp_filter=0)
        for name in ("net-a", "net-b", "zone1", "zone2", "vpc"):
            self[name].sysctl(ip_forward=1)
        self["vpc"].sysctl(fib_multipath_hash_policy=1)


ADDRESSES: dict[str, tuple[str, ...]] = {
    "idc": (f"address add {IDC_HOST}/16 dev lan", f"route add default via {GATEWAY_LAN}"),
    "gw": (
        f"address add {GATEWAY_LAN}/16 dev lan",
        "address add 192.0.2.2/24 dev wan-a",
        "address add 198.51.100.2/24 dev wan-b",
        "route add default via 192.0.2.1",
        "route add 203.0.113.2 via 198.51.100.1",
    ),
    "net-a": (
        "address add 192.0.2.1/24 dev gw",
        "address add 203.0.113.129 peer 203.0.113.1 dev cloud",
    ),
    "net-b": (
        "address add 198.51.100.1/24 dev gw",
        "address add 203.0.113.130 peer 203.0.113.2 dev cloud",
    ),
    "zone1": (
        "address add 203.0.113.1 peer 203.0.113.129 dev wan",
        "address add 172.31.1.1/30 dev vpc",
        "route add default via 203.0.113.129",
        *(f"route add {network} via 172.31.1.2" for network in REMOTE_NETWORKS),
        "link add tunnel type xfrm if_id 1",
        "address add 169.254.10.1/30 dev tunnel",
        "link set tunnel mtu 1399 up",
        f"route add {IDC_NETWORK} dev tunnel",
    ),
    "zone2": (
        "address add 203.0.113.2 peer 203.0.113.130 dev wan",
        "address add 172.31.2.1/30 dev vpc",
        "route add default via 203.0.113.130",
        *(f"route add {network} via 172.31.2.2" for network in REMOTE_NETWORKS),
        "link add tunnel type xfrm if_id 1",
        "address add 169.254.11.1/30 dev tunnel",
        "link set tunnel mtu 1399 up",
        f"route add {IDC_NETWORK} dev tunnel",
    ),
    "vpc": (
        "address add 172.31.1.2/30 dev zone1",
        "address add 172.31.2.2/30 dev zone2",
        "address add 172.16.0.1/16 dev lan",
        f"route add {SERVICE_NETWORK} via {ECS_HOST} dev lan",
    ),
    "ecs": (
        f"address add {ECS_HOST}/16 dev lan",
        f"address add {SERVICE_HOST}/32 dev lan",
        "route add default via 172.16.0.1",
    ),
}


# What goes wrong on purpose, without starting a process.
# nftables runs inside this one (libnftables), on a context opened in the namespace of each internet path;
# links are set down through sockets opened there. Every fault lasts until `clear`.

Towards = Literal["both", "outbound", "inbound"]
Dropped = Literal["everything", "esp", "ike", "udp-4500"]

# In UDP 4500 four zero bytes before the payload tell IKE from the SPI of an ESP packet.
MATCHES: dict[Dropped, tuple[str, ...]] = {
    "everything": ("",),
    "esp": ("ip protocol esp", "udp dport 4500 @th,64,32 != 0"),
    "udp-4500": ("udp dport 4500",),
    "ike": ("udp dport 500", "udp dport 4500 @th,64,32 0"),
}
TABLE = """
table ip faults {{}}
delete table ip faults
table ip faults {{
    chain forward {{
        type filter hook forward priority 0; policy accept;
        {rules}
    }}
}}
"""


class Nft:
    """A libnftables context that belongs to the namespace it was opened in."""

    _library = ctypes.CDLL("libnftables.so.1")
    _library.nft_ctx_new.restype = ctypes.c_void_p
    _library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p

    def __init__(self) -> None:
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, ruleset: str) -> None:
        """Apply a ruleset in one transaction."""
        if self._library.nft_run_cmd_from_buffer(self._context, ruleset.encode()):
            raise RuntimeError(self._library.nft_ctx_get_error_buffer(self._context).decode())

    def close(self) -> None:
        """Free the context."""
        self._library.nft_ctx_free(self._context)


class Faults:
    """Faults of the internet paths and of the gateway's own wires."""

    def __init__(self, topology: Topology) -> None:
        self._nft: dict[LabTunnel, Nft] = {}
        self._links: dict[LabTunnel, IPRoute] = {}
        for tunnel in TUNNELS:
            with topology[tunnel.net].entered():
                self._nft[tunnel] = Nft()
                self._links[tunnel] = IPRoute()
        self._ports = {t: self._links[t].link_lookup(ifname="gw")[0] for t in TUNNELS}

    def drop(self, tunnel: LabTunnel, what: Dropped = "everything", direction: Towards = "both") -> None:
        """Drop what the tunnel's path forwards; `outbound` is from the gateway to the cloud."""
        side = {"both": "", "outbound": 'iifname "gw" ', "inbound": 'oifname "gw" '}[direction]
        rules = "\n".join(f"{side}{match} drop" for match in MATCHES[what])
        self._nft[tunnel].run(TABLE.format(rules=rules))

    def police(self, tunnel: LabTunnel, packets: int) -> None:
        """Drop what exceeds so many packets per second, towards the cloud, as its own policer does."""
        rule = f'iifname "gw" limit rate over {packets}/second burst 1 packets drop'
        self._nft[tunnel].run(TABLE.format(rules=rule))

    def swallow(self, tunnel: LabTunnel, size: int) -> None:
        """Drop IP packets of more than `size` bytes towards the cloud without a word: an MTU black hole."""
        self._nft[tunnel].run(TABLE.format(rules=f'iifname "gw" meta length > {size} drop'))

    def carrier(self, tunnel: LabTunnel, *, up: bool) -> None:
        """Take the carrier of the gateway's uplink away, or give it back, at the far end of its wire."""
        self._links[tunnel].link("set", index=self._ports[tunnel], state="up" if up else "down")

    def heal(self, tunnel: LabTunnel) -> None:
        """The tunnel's path forwards everything again; the other's stays as it is."""
        self._nft[tunnel].run(TABLE.format(rules=""))

    def clear(self) -> None:
        """Everything works again."""
        for tunnel in TUNNELS:
            self.heal(tunnel)
            self.carrier(tunnel, up=True)

    def close(self) -> None:
        """Close sockets and contexts."""
        for tunnel in TUNNELS:
            self._nft[tunnel].close()
            self._links[tunnel].close()


# What somebody removes by hand.


def identifiers(gateway: Namespace) -> tuple[str, str]:
    """The ids of the primary's nexthop and of its group."""
    lines = gateway.run("ip", "nexthop").splitlines()
    [nexthop] = (line.split()[1] for line in lines if f"dev vpn-{PRIMARY.name}" in line)
    [group] = (line.split()[1] for line in lines if "group" in line)
    return nexthop, group


REMOVALS = {
    "route": ("route del {network} metric 0",),
    "guard": ("route del unreachable {network} metric 4278198272",),
    "nexthop": ("nexthop del id {nexthop}",),
    "group": ("nexthop del id {group}",),
    "interface": ("link del {interface}",),
    "address": ("address del {address}/30 dev {interface}",),
    "interface down": ("link set {interface} down",),
    "everything": (
        "nexthop del id {group}",
        "route del unreachable {network} metric 4278198272",
        "link del {interface}",
    ),
}


def removal(gateway: Namespace, what: str) -> list[str]:
    """The lines of `ip` that remove something of the agent's by hand."""
    nexthop, group = identifiers(gateway)
    words = {
        "network": SERVICE_NETWORK,
        "nexthop": nexthop,
        "group": group,
        "interface": f"vpn-{PRIMARY.name}",
        "address": PRIMARY.inside_local,
    }
    return [line.format(**words) for line in REMOVALS[what]]


def kernel_view(gateway: Namespace) -> list[str]:
    """Routes, nexthops and interfaces, without what changes by itself."""
    routes = gateway.run("ip", "route").splitlines()
    nexthops = gateway.run("ip", "nexthop").splitlines()
    addresses = gateway.run("ip", "-o", "-4", "address").splitlines()
    return sorted([*routes, *nexthops, *(" ".join(line.split()[1:4]) for line in addresses)])
