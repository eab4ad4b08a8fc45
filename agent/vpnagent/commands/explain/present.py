"""An explanation as text for people, and as JSON for programs. Pure."""

from collections.abc import Iterator, Sequence

from vpnagent.commands.explain.advice import TAILSCALE_TABLE
from vpnagent.commands.explain.catalogue import Catalogue
from vpnagent.commands.explain.reasoning import (
    ChildSelectors,
    ExplainedRoute,
    Explanation,
    NetworkSeen,
    NoRoute,
    Target,
    TargetAnswer,
)
from vpnagent.commands.status.canvas import milliseconds
from vpnagent.finding import Finding
from vpnagent.netlink.rtnetlink import MAIN_TABLE
from vpnagent.record import Json

TABLES = {MAIN_TABLE: "main", TAILSCALE_TABLE: "52 (Tailscale)"}


def lines(
    catalogue: Catalogue,
    target: Target,
    explanations: Sequence[Explanation],
    findings: Sequence[Finding],
    remark: str,
) -> Iterator[str]:
    """Yield the lines for people; ``remark`` says what could not be asked, or is empty."""
    if target.address is None:
        addresses = ", ".join(str(e.address) for e in explanations) or "no IPv4 address"
        yield f"{target}: {addresses}"
    for e in explanations:
        yield str(e.address)
        yield from (f"  {name:<10} {text}" for name, text in _rows(catalogue, e) if text)
    if remark:
        yield f"note: {remark}"
    for finding in findings:
        yield f"{finding.severity.value}: {finding.subject}: {finding.text}"
        yield f"    -> {finding.hint}"


def _rows(catalogue: Catalogue, e: Explanation) -> Iterator[tuple[str, str]]:
    known = f": {e.service} (as of {catalogue.read})" if e.service else ""
    yield "kind", f"{e.kind.value}{known}"
    names = ", ".join(c.name for c in e.connections)
    yield "prefix", f"{e.prefix} of {names}" if e.prefix else ""
    yield "way now", _way(e)
    yield "selectors", _selectors(e.selectors) if e.selectors else ""
    if seen := e.tunnel_seen:
        yield "tunnel", seen.state + (f": {seen.reason}" if seen.reason and seen.state != "up" else "")
    for network in e.networks:
        yield "network", _network(network)
    yield "besides", ", ".join(map(str, e.others))
    yield "answer", _answer(e.seen.answer)


def _way(e: Explanation) -> str:
    route = e.seen.route
    if isinstance(route, NoRoute):
        return f"none: {route.reason}"
    if route.local:
        return "this machine itself"
    parts = [f"{e.tunnel} by {route.interface}" if e.tunnel else route.interface]
    if route.gateway:
        parts.append(f"gateway {route.gateway}")
    parts.append(f"source {route.source}" if route.source else "source not told")
    parts.append(f"MTU {route.mtu}")
    if route.prefix:
        parts.append(f"route {route.prefix} of table {TABLES.get(route.table, route.table)}")
    return ", ".join(parts)


def _selectors(selectors: ChildSelectors) -> str:
    pair = f"{' '.join(selectors.local)} === {' '.join(selectors.remote)}"
    whose = "negotiated" if selectors.negotiated else "as configured; what was negotiated is not known"
    return f"{'cover it' if selectors.cover else 'DO NOT COVER IT'}: {pair} ({whose})"


def _network(network: NetworkSeen) -> str:
    carried = f"carried, but {network.reason}" if network.reason else "carried"
    said = {True: carried, False: f"NOT CARRIED: {network.reason}", None: network.reason}
    return f"{network.local} -> {network.remote}: {said[network.carried]}"


def _answer(answer: TargetAnswer) -> str:
    took = f" in {milliseconds(answer.rtt)}" if answer.rtt is not None else ""
    reason = f": {answer.reason}" if answer.reason else ""
    return f"{answer.method}: {answer.outcome.value.replace('-', ' ')}{took}{reason}"


def as_json(
    catalogue: Catalogue,
    target: Target,
    explanations: Sequence[Explanation],
    findings: Sequence[Finding],
    remark: str,
) -> Json:
    """Return the JSON object."""
    return {
        "target": {"host": target.host, "port": target.port},
        "services_read": catalogue.read,
        "remark": remark or None,
        "addresses": [_address(e) for e in explanations],
        "findings": [finding.plain() for finding in findings],
    }


def _address(e: Explanation) -> Json:
    seen, selectors = e.tunnel_seen, e.selectors
    return {
        "address": str(e.address),
        "kind": e.kind.name.lower().replace("_", "-"),
        "service": {"name": e.service.name, "region": e.service.region or None} if e.service else None,
        "prefix": str(e.prefix) if e.prefix else None,
        "connections": [c.name for c in e.connections],
        "tunnel": str(e.tunnel) if e.tunnel else None,
        "other_tunnels": [str(key) for key in e.others],
        "tunnel_state": seen.state if seen else None,
        "tunnel_reason": seen.reason if seen else None,
        "route": _route(e.seen.route),
        "selectors": {
            "cover": selectors.cover,
            "source_covered": selectors.source_covered,
            "destination_covered": selectors.destination_covered,
            "local": list(selectors.local),
            "remote": list(selectors.remote),
            "negotiated": selectors.negotiated,
        }
        if selectors
        else None,
        "networks": [
            {"local": n.local, "remote": n.remote, "carried": n.carried, "reason": n.reason}
            for n in e.networks
        ],
        "answer": {
            "method": e.seen.answer.method,
            "outcome": e.seen.answer.outcome.value,
            "rtt_seconds": e.seen.answer.rtt,
            "reason": e.seen.answer.reason or None,
        },
    }


def _route(route: ExplainedRoute | NoRoute) -> Json:
    if isinstance(route, NoRoute):
        return {"interface": None, "error": route.reason, "errno": route.errno}
    return {
        "interface": route.interface,
        "source": str(route.source) if route.source else None,
        "gateway": str(route.gateway) if route.gateway else None,
        "mtu": route.mtu,
        "local": route.local,
        "prefix": str(route.prefix) if route.prefix else None,
        "table": route.table,
        "protocol": route.protocol,
        "error": None,
        "errno": 0,
    }
