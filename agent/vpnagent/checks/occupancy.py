"""Who else uses the remote networks, above all 100.64.0.0/10: addresses, routes, rules, pools, resolvers.

100.64.0.0/10 is the shared address space of carriers (RFC 6598); Alibaba Cloud's services have addresses
in it, and so do customers of carriers with NAT, and every node of Tailscale. Pure.
"""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.checks.observation import Address, Interface, Observation, ObservedRoute
from vpnagent.config.values import CLOUD_SERVICES, Config
from vpnagent.finding import Finding, Severity
from vpnagent.netlink.rtnetlink import MAIN_TABLE, PROTOCOL
from vpnagent.policy import lines
from vpnagent.policy.desired import route_metrics
from vpnagent.routing.fib import FR_ACT_TO_TBL, FibRule
from vpnagent.routing.objects import Diversion

CLOUD_RESOLVERS: Final = (IPv4Address("100.100.2.136"), IPv4Address("100.100.2.138"))
TAILSCALE_TABLE: Final = 52
STRONGSWAN_TABLE: Final = 220
RTN_THROW: Final = 9
RTPROT_KERNEL: Final = 2
CONTAINER_INTERFACES: Final = ("docker", "br-", "cni", "podman", "flannel", "cilium", "cali", "weave", "kube")
SHOWN: Final = 3  #: examples in one line

NARROW_RANGES: Final = "the region's narrow ranges (vpnagent check --region REGION names them)"
NARROW: Final = f"instead of 100.64.0.0/10 route {NARROW_RANGES}, or reach the service through PrivateLink"


def occupancy(config: Config, seen: Observation) -> Iterator[Finding]:
    """Yield who else uses a remote network."""
    ours = frozenset(tunnel.interface for tunnel in config.tunnels())
    networks = tuple(dict.fromkeys(n for c in config.connections for n in c.remote_networks))
    kinds = {interface.name: interface for interface in seen.interfaces or ()}
    for address in seen.addresses or ():
        if address.interface not in ours:
            yield from _address(address, networks, kinds, seen)
    routes = [route for route in seen.routes or () if route.interface not in ours]
    yield from _routes(config, routes, networks, seen)
    yield from _rules(config, routes, networks, seen)
    for network in networks:
        for pool in seen.pools or ():
            if pool.network.overlaps(network):
                yield _pool(str(pool.network), network, pool.where)
        for resolver in sorted({*(seen.resolvers or ())} - {*CLOUD_RESOLVERS}):
            if resolver in network:
                yield _resolver(resolver, network)


def _address(
    address: Address, networks: Iterable[IPv4Network], kinds: dict[str, Interface], seen: Observation
) -> Iterator[Finding]:
    own = address.address.network
    for network in networks:
        if not own.overlaps(network):
            continue
        kind = kinds.get(address.interface)
        if _is_wan(address, seen):
            yield _wan(address, network)
        elif kind and _is_container_bridge(kind):
            yield _pool(str(own), network, f"interface {address.interface}")
        else:
            yield _here(address, network)


def _here(address: Address, network: IPv4Network) -> Finding:
    own = address.address.network
    severity = _severity(own, network)
    if own.num_addresses == 1 and severity is Severity.WARNING:
        severity = Severity.INFO  # a single address, as every node of Tailscale has one
    return Finding(
        code="AddressInRemote",
        subject=f"{address.interface} {address.address}",
        severity=severity,
        text=f"this machine has {address.address} on {address.interface}, within the remote network "
        f"{network}: what the cloud has in {_common(own, network)} cannot be reached",
        hint=_hint(network, f"give {address.interface} an address from elsewhere"),
    )


def _is_wan(address: Address, seen: Observation) -> bool:
    sources = {underlay.source for underlay in seen.underlays or ()}
    return address.address.ip in sources or address.interface in (seen.default_interfaces or ())


def _is_container_bridge(interface: Interface) -> bool:
    return interface.kind == "bridge" and interface.name.startswith(CONTAINER_INTERFACES)


def _wan(address: Address, network: IPv4Network) -> Finding:
    own = address.address.network
    return Finding(
        code="WanInRemote",
        subject=f"{address.interface} {address.address}",
        severity=_severity(own, network),
        text=f"the uplink {address.interface} has {address.address}, within the remote network {network}, as "
        f"behind a carrier's NAT: what the cloud has in {_common(own, network)} cannot be reached, and the "
        "provider's own servers there (DNS, DHCP) are sought in the tunnels",
        hint=_hint(network, "ask the provider for a public address, which IPsec-VPN wants anyhow"),
    )


def _routes(
    config: Config, routes: list[ObservedRoute], networks: tuple[IPv4Network, ...], seen: Observation
) -> Iterator[Finding]:
    told = [a.address.network for a in seen.addresses or ()]
    by_interface: dict[str, list[ObservedRoute]] = {}
    by_exit: dict[IPv4Network, Diversion] = {}
    metrics, ways_out = route_metrics(config), lines.exits(config)
    for route in routes:
        connected = route.protocol == RTPROT_KERNEL and route.prefix in told
        behind = route.prefix in networks and route.metric > metrics[route.prefix]
        if route.table != MAIN_TABLE or not route.prefix.prefixlen or connected or behind:
            continue
        if any(route.prefix.subnet_of(n) and route.interface in ways for n, ways in ways_out.items()):
            if route.prefix in networks and route.metric < metrics[route.prefix]:
                by_exit[route.prefix] = Diversion(route.prefix, "", route.interface, route.table, meant=True)
        else:
            by_interface.setdefault(route.interface, []).append(route)
    yield from lines.not_used(config, by_exit)
    for interface, found in by_interface.items():
        prefixes = sorted({route.prefix for route in found})
        taken = [(prefix, n) for prefix in prefixes for n in networks if prefix.subnet_of(n)]
        network = taken[0][1]
        yield Finding(
            code="RouteInRemote",
            subject=interface,
            severity=max((_severity(prefix, n) for prefix, n in taken), key=list(Severity).index),
            text=f"{_counted('route', prefixes)} of others ({_some(prefixes)}), "
            f"{f'through {interface}' if interface else 'not through one interface'}, within the "
            f"remote network {network}: more specific than ours, or of a better metric, they keep that part "
            "out of the tunnels",
            hint=_hint(network, f"remove them if they are left over: ip route show root {network}"),
        )


def _rules(
    config: Config, routes: list[ObservedRoute], networks: tuple[IPv4Network, ...], seen: Observation
) -> Iterator[Finding]:
    rules = [rule for rule in seen.rules or () if rule.protocol != PROTOCOL]
    for network in networks:
        for rule in rules:
            if _settles(rule, network):
                break
            if _concerns(rule, network, config):
                yield from _rule(rule, network, routes)


def _settles(rule: FibRule, network: IPv4Network) -> bool:
    """Whether a rule has the main table, where our routes are, decide about all of a network."""
    plain = not rule.selective and not rule.inverted
    for_all = plain and not rule.source.prefixlen and not rule.incoming
    for_all = for_all and network.subnet_of(rule.destination)
    in_main = rule.action == FR_ACT_TO_TBL and rule.table == MAIN_TABLE
    return for_all and in_main and rule.suppressed_length < network.prefixlen


def _concerns(rule: FibRule, network: IPv4Network, config: Config) -> bool:
    """Whether a rule may be for plain packets of ours to a network.

    One for a mark, a protocol or a port is not: the witness asks the kernel for such packets. One that is
    inverted is for all that the selectors are not about.
    """
    if not rule.inverted:
        return not rule.selective and rule.destination.overlaps(network) and _is_ours(rule, config)
    if rule.of_devices:
        return False
    within = network.subnet_of(rule.destination) and all(
        local.subnet_of(rule.source) for local in config.local_networks()
    )
    marked = bool(rule.mark & rule.mask)
    others = (rule.tos, rule.ip_protocol, rule.incoming, *rule.source_ports, *rule.destination_ports)
    return not within or marked or any(others)


def _is_ours(rule: FibRule, config: Config) -> bool:
    """Whether a rule may be about the traffic of the tunnels, by its source."""
    sources = {config.gateway.source_address, *map(config.source_of, config.connections)}
    own = any(source is not None and source in rule.source for source in sources)
    return own or any(rule.source.overlaps(network) for network in config.local_networks())


def _rule(rule: FibRule, network: IPv4Network, routes: list[ObservedRoute]) -> Iterator[Finding]:
    if rule.action != FR_ACT_TO_TBL:
        taken = [network]
    elif rule.table == MAIN_TABLE:
        return
    else:
        taken = sorted(
            route.prefix
            for route in routes
            if route.table == rule.table
            and route.kind != RTN_THROW
            and route.prefix.overlaps(network)
            and (rule.inverted or route.prefix.overlaps(rule.destination))
            and route.prefix.prefixlen > rule.suppressed_length
        )
    if taken:
        yield Finding(
            code="RuleBeforeMain",
            subject=f"{rule} {network}",
            severity=max((_severity(prefix, network) for prefix in taken), key=list(Severity).index),
            text=f"ip rule {rule} comes before the main table, and has {_counted('route', taken)} "
            f"({_some(taken)}) that meet the remote network {network}: that part never gets to the tunnels",
            hint=_rule_hint(rule, network),
        )


def _rule_hint(rule: FibRule, network: IPv4Network) -> str:
    if rule.action != FR_ACT_TO_TBL:
        return f"remove the rule: ip rule delete priority {rule.priority}"
    if rule.table == STRONGSWAN_TABLE:
        return "table 220 is strongSwan's: see this charon's other connections, and its plugin bypass-lan"
    first = f"ip rule add to {network} priority {max(rule.priority - 1, 1)} lookup main"
    if rule.table == TAILSCALE_TABLE:
        return _hint(network, f"table 52 is Tailscale's: {first}")
    return first


def _pool(pool: str, network: IPv4Network, where: str) -> Finding:
    return Finding(
        code="ContainersInRemote",
        subject=f"{pool} {where}",
        severity=Severity.WARNING,
        text=f"containers get addresses from {pool} ({where}), which meets the remote network {network}: "
        "what the cloud has there is sought among the containers, and the other way round",
        hint=_hint(network, "set other pools (daemon.json: default-address-pools, bip; CNI: subnet)"),
    )


def _resolver(resolver: IPv4Address, network: IPv4Network) -> Finding:
    return Finding(
        code="ResolverInRemote",
        subject=str(resolver),
        severity=Severity.WARNING,
        text=f"the name server {resolver} is within the remote network {network}: "
        "it is asked through the tunnels, and not where it is",
        hint="100.100.100.100 is Tailscale's (tailscale set --accept-dns=false); "
        "another may be the carrier's: use a name server with an address from elsewhere",
    )


def _severity(prefix: IPv4Network, network: IPv4Network) -> Severity:
    """Return how bad it is to lose a prefix of a remote network: all of it, or the cloud's DNS, or a part."""
    whole = network.subnet_of(prefix)
    dns = any(address in prefix and address in network for address in CLOUD_RESOLVERS)
    return Severity.CRITICAL if whole or dns else Severity.WARNING


def _common(prefix: IPv4Network, network: IPv4Network) -> IPv4Network:
    return network if network.subnet_of(prefix) else prefix


def _hint(network: IPv4Network, first: str) -> str:
    return f"{first}; or {NARROW}" if network.overlaps(CLOUD_SERVICES) else first


def _counted(word: str, things: list[IPv4Network]) -> str:
    return f"{len(things)} {word}{'s' if len(things) != 1 else ''}"


def _some(prefixes: list[IPv4Network]) -> str:
    more = ["…"] if len(prefixes) > SHOWN else []
    return ", ".join([*map(str, prefixes[:SHOWN]), *more])
