"""The lab's network: an IDC, its gateway, two internet paths, the cloud's two zones, and a VPC behind them.

    idc 10.1.0.10 -- gw -+- wan-a 192.0.2.2 ---- net-a -- 203.0.113.1 zone1 -+- vpc -- ecs 172.16.0.10
                10.1.0.1 +- wan-b 198.51.100.2 - net-b -- 203.0.113.2 zone2 -+           100.100.2.136

The gateway's default route leads to net-a: whatever misses the tunnels leaves in clear, and is seen there.
Each zone ends its tunnel on an XFRM interface; which zone returns traffic is the cloud's decision (cloud.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lab.namespace import Namespace, ip

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
class Tunnel:
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


PRIMARY = Tunnel(
    number=1,
    name="primary",
    uplink="wan-a",
    local="192.0.2.2",
    remote="203.0.113.1",
    inside_local="169.254.10.2",
    inside_remote="169.254.10.1",
    psk="lab-key-of-tunnel-1",
)
BACKUP = Tunnel(
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
