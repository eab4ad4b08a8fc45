"""What is not as it should be with a name or an address, and what to do. Pure: one rule a function.

The remedies are those of Alibaba Cloud's manual: the route on the cloud's side, forwarding DNS to the cloud's
resolvers or to a resolver endpoint, PrivateLink where a service has public addresses only or on conflict.
"""

from collections.abc import Callable, Iterator

from vpnagent.commands.explain.catalogue import Catalogue
from vpnagent.commands.explain.reasoning import ExplainedRoute, Explanation, NoRoute, Outcome, Target, WayKind
from vpnagent.config.values import CLOUD_SERVICES, Attachment
from vpnagent.finding import Finding, Severity
from vpnagent.netlink.rtnetlink import PROTOCOL

TAILSCALE_TABLE = 52
CLOUD_DOMAIN = ".aliyuncs.com"

FORWARD_DNS = (
    "have this data centre's DNS servers forward the name to the cloud's: 100.100.2.136 and 100.100.2.138, "
    "through the tunnels, or an inbound endpoint of Private DNS in a VPC"
)
PRIVATE_LINK = (
    "use PrivateLink: make an interface endpoint for the service in a VPC that a connection reaches, "
    "and the endpoint's name or address instead"
)
SEE_STATUS = "vpnagent status says what is wrong with the tunnels"


def advise(
    catalogue: Catalogue, target: Target, found: tuple[Explanation, ...], why_not: str = ""
) -> list[Finding]:
    """Return what there is to say, the worst first.

    ``found`` has one entry for each address; ``why_not`` is the resolver's word where there is none.
    """
    findings = list(_of_name(catalogue, target, found, why_not)) if target.address is None else []
    for explanation in found:
        findings += [finding for rule in RULES for finding in rule(explanation)]
    order = list(Severity)
    return sorted(dict.fromkeys(findings), key=lambda finding: -order.index(finding.severity))


def is_fine(findings: list[Finding]) -> bool:
    """Return whether there is nothing to warn of."""
    return all(finding.severity is Severity.INFO for finding in findings)


def _of_name(
    catalogue: Catalogue, target: Target, found: tuple[Explanation, ...], why_not: str
) -> Iterator[Finding]:
    host = target.host
    if not found:
        hint = FORWARD_DNS if host.endswith(CLOUD_DOMAIN) else "correct the name or the resolver here"
        yield _finding("unresolved", host, Severity.CRITICAL, f"has no IPv4 address here: {why_not}", hint)
    elif all(e.kind not in (WayKind.CLOUD_SERVICE, WayKind.VPC) for e in found):
        yield from _outside(catalogue, host)


def _outside(catalogue: Catalogue, host: str) -> Iterator[Finding]:
    """Yield what to say of a name none of whose addresses is inside of the cloud."""
    if service := catalogue.public(host):
        text = f"{service.name} has public addresses only: packets go over the Internet"
        yield _finding("public-only", host, Severity.INFO, text, PRIVATE_LINK)
    elif internal := catalogue.internal_name(host):
        text = "is the public name: packets do not go through the tunnels"
        yield _finding(
            "public-name", host, Severity.WARNING, text, f"use {internal}{_lacking(catalogue, host)}"
        )
    elif catalogue.internal(host):
        text = "is an internal name, and resolves to no address inside of the cloud"
        hint = FORWARD_DNS + _lacking(catalogue, host)
        yield _finding("wrong-answer", host, Severity.WARNING, text, hint)
    elif host.endswith(CLOUD_DOMAIN):
        hint = f"look for the service's internal name; if it has none, {PRIVATE_LINK}"
        yield _finding("public-name", host, Severity.INFO, "has no address inside of the cloud", hint)


def _lacking(catalogue: Catalogue, host: str) -> str:
    """Return what the table does not tell of a name, for those who route narrow ranges."""
    lacks = catalogue.lacks(host)
    return f"; {lacks}: narrow remote_networks need its own, all of 100.64.0.0/10 has them" if lacks else ""


def _finding(code: str, subject: str, severity: Severity, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=subject, severity=severity, text=text, hint=hint)


def _not_configured(e: Explanation) -> Iterator[Finding]:
    if e.prefix is not None:
        return
    if e.kind is WayKind.CLOUD_SERVICE:
        networks = e.service.networks if e.service and e.service.region else (CLOUD_SERVICES,)
        hint = f"add to remote_networks of a connection: {', '.join(map(str, networks))}"
        text = "is of 100.64.0.0/10, and no connection has it in its remote_networks"
        yield _finding("not-configured", str(e.address), Severity.WARNING, text, hint)
    elif e.kind is WayKind.UNKNOWN:
        hint = "if it is in a VPC, add the VPC's network to remote_networks of a connection"
        text = "is private, and neither in local_networks nor in remote_networks"
        yield _finding("not-configured", str(e.address), Severity.WARNING, text, hint)


def _no_way(e: Explanation) -> Iterator[Finding]:
    if not isinstance(e.seen.route, NoRoute):
        return
    if e.prefix is not None:
        text = f"no tunnel carries {e.prefix} now: the kernel says {e.seen.route.reason}"
        yield _finding("no-tunnel", str(e.address), Severity.CRITICAL, text, SEE_STATUS)
    else:
        text = f"there is no way: the kernel says {e.seen.route.reason}"
        hint = "look at the routing table: ip route get"
        yield _finding("no-route", str(e.address), Severity.WARNING, text, hint)


def _bypass(e: Explanation) -> Iterator[Finding]:
    route = e.seen.route
    if not isinstance(route, ExplainedRoute) or e.prefix is None or e.tunnel is not None:
        return
    if any(route.interface in connection.exits for connection in e.connections):
        text = f"leaves by {route.interface}, which is one of exits: {_origin(route)} goes before the tunnels"
        hint = "as meant, if that is a leased line; the tunnels carry when its route goes"
        yield _finding("by-exit", str(e.address), Severity.INFO, text, hint)
        return
    if route.local:
        text, hint = f"is an address of this machine itself, of {route.interface}", "renumber it"
    else:
        text = f"leaves by {route.interface} and not through a tunnel: {_origin(route)} wins over {e.prefix}"
        hint = "remove that route or rule"
        if route.prefix is not None and route.prefix.prefixlen < e.prefix.prefixlen:
            hint = "is the daemon running? it makes the routes: vpnagent plan says what is missing"
        if route.table == TAILSCALE_TABLE:
            hint = (
                "Tailscale's table goes first: an ip rule of priority below 5270 to table main for the prefix"
            )
    if e.kind is WayKind.CLOUD_SERVICE:
        hint += f"; vpnagent check finds who else uses 100.64.0.0/10. Or {PRIVATE_LINK}"
    yield _finding("bypass", str(e.address), Severity.CRITICAL, text, hint)


def _origin(route: ExplainedRoute) -> str:
    what = f"the route {route.prefix}" if route.prefix is not None else "a route"
    return f"{what} of table {route.table}" + (", which is ours," if route.protocol == PROTOCOL else "")


def _uncovered(e: Explanation) -> Iterator[Finding]:
    selectors = e.selectors
    if selectors is None or selectors.cover:
        return
    if not selectors.destination_covered:
        text = f"the traffic selectors of {e.tunnel} do not cover it: {', '.join(selectors.remote)}"
        if selectors.negotiated:
            text += " was negotiated"
        hint = "traffic_selectors: any, on both ends, or its network in both ends' selectors"
        yield _finding("not-covered", str(e.address), Severity.CRITICAL, text, hint)
    if not selectors.source_covered and isinstance(e.seen.route, ExplainedRoute):
        text = f"the traffic selectors of {e.tunnel} do not cover the source {e.seen.route.source}"
        hint = "this gateway's own packets need gateway.source_address, or the connection's, "
        hint += "in its local_networks"
        yield _finding("source-not-covered", str(e.address), Severity.WARNING, text, hint)


def _not_carried(e: Explanation) -> Iterator[Finding]:
    lost = [network for network in e.networks if network.carried is False]
    for network in lost[:1]:
        text = f"hosts of {', '.join(n.local for n in lost)} do not reach {network.remote}: {network.reason}"
        yield _finding("not-carried", str(e.address), Severity.CRITICAL, text, SEE_STATUS)


def _tunnel_not_up(e: Explanation) -> Iterator[Finding]:
    if e.tunnel_seen is not None and e.tunnel_seen.state != "up":
        text = f"{e.tunnel} is {e.tunnel_seen.state}: {e.tunnel_seen.reason}"
        yield _finding("tunnel-not-up", str(e.tunnel), Severity.WARNING, text, SEE_STATUS)


def _instances_only(e: Explanation) -> Iterator[Finding]:
    if e.service is not None and e.service.instances_only:
        text = f"{e.service.name} serves ECS instances, each about itself: not a data centre"
        yield _finding("instances-only", str(e.address), Severity.INFO, text, "expect no answer")


def _no_answer(e: Explanation) -> Iterator[Finding]:
    answer, subject = e.seen.answer, str(e.address)
    if e.service is not None and e.service.instances_only:
        return
    match answer.outcome:
        case Outcome.REFUSED:
            text, hint = f"answers, but nothing listens: {answer.method}", "try the service's port"
            yield _finding("refused", subject, Severity.WARNING, text, hint)
        case Outcome.SILENT if e.tunnel is None:
            text, hint = (
                f"does not answer: {answer.method}",
                "look at the firewalls on the way",
            )
            yield _finding("silent", subject, Severity.WARNING, text, hint)
        case Outcome.SILENT:
            text = f"goes into {e.tunnel}, and nothing comes back: {answer.method}"
            yield _finding("silent", subject, Severity.CRITICAL, text, _beyond_the_tunnel(e))
        case Outcome.UNREACHABLE if isinstance(e.seen.route, ExplainedRoute):
            text = f"is told to be unreachable: {answer.reason}"
            hint = SEE_STATUS if e.tunnel else "look at the routers on the way"
            yield _finding("unreachable", subject, Severity.CRITICAL, text, hint)


def _beyond_the_tunnel(e: Explanation) -> str:
    """Return what the cloud's side lacks most often, for a packet that went into a tunnel."""
    if e.kind is not WayKind.CLOUD_SERVICE:
        return "in the cloud, look at the target's security group and at the VPC's route to this data centre"
    if any(c.attachment is Attachment.TRANSIT_ROUTER for c in e.connections):
        needed = f"a route to {e.prefix} in the transit router's table, by a VPC attachment of its region"
    else:
        needed = f"a custom advertised route {e.prefix} on the VPN gateway, which serves its own region only"
    return f"in the cloud, it needs {needed}; ask a port, as not all services answer ping; or {PRIVATE_LINK}"


AdviceRule = Callable[[Explanation], Iterator[Finding]]

RULES: tuple[AdviceRule, ...] = (
    _not_configured,
    _no_way,
    _bypass,
    _uncovered,
    _not_carried,
    _tunnel_not_up,
    _instances_only,
    _no_answer,
)
