"""Read what ``nft -j list ruleset`` prints (libnftables-json(5)). Pure.

Whatever is not understood becomes an unknown match: the walk then says that it cannot tell, and nothing
wrong. Only chains that IPv4 packets pass count: families ip and inet.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from vpnagent.checks.firewall import UNKNOWN, Chain, FilterRule, Match, MatchValue, RuleAction, Ruleset
from vpnagent.record import Json

Sets = Mapping[tuple[str, str], tuple[MatchValue, ...]]  #: by table and name

PROTOCOLS: Final = {"icmp": 1, "tcp": 6, "udp": 17, "esp": 50, "ah": 51}
ICMP_TYPES: Final = {"echo-reply": 0, "destination-unreachable": 3, "echo-request": 8, "time-exceeded": 11}
NAMED: Final = {"l4proto": PROTOCOLS, "icmptype": ICMP_TYPES, "nfproto": {"ipv4": 2}}
SIMPLE: Final = {
    "accept": RuleAction.ACCEPT,
    "drop": RuleAction.DROP,
    "reject": RuleAction.DROP,
    "return": RuleAction.RETURN,
    "masquerade": RuleAction.TRANSLATE,
    "snat": RuleAction.TRANSLATE,
    "dnat": RuleAction.REDIRECT,
    "redirect": RuleAction.REDIRECT,
    "tproxy": RuleAction.REDIRECT,
}
XT_TARGETS: Final = {
    "REJECT": RuleAction.DROP,
    "MASQUERADE": RuleAction.TRANSLATE,
    "SNAT": RuleAction.TRANSLATE,
    "DNAT": RuleAction.REDIRECT,
    "REDIRECT": RuleAction.REDIRECT,
}  #: iptables' targets, which nft names and cannot read
HARMLESS: Final = frozenset(
    {"counter", "log", "notrack", "flow", "ct helper", "ct timeout", "set", "map", "dup", "last", "continue"}
)  #: after these the next statement follows
META_FIELDS: Final = {
    "iif": "iifname",
    "iifname": "iifname",
    "oif": "oifname",
    "oifname": "oifname",
    "l4proto": "l4proto",
    "mark": "mark",
    "nfproto": "nfproto",
}
IP_FIELDS: Final = {"saddr": "saddr", "daddr": "daddr", "protocol": "l4proto"}
IPV4: Final = 2  #: NFPROTO_IPV4
MARKS: Final = ({"meta": {"key": "mark"}}, {"ct": {"key": "mark"}})  #: the packet's, the connection's
ALL_BITS: Final = 0xFFFFFFFF
WORD: Final = re.compile(r"[A-Za-z0-9_.*@:-]{1,40}")


def ruleset(document: Json, without: Iterable[str] = ()) -> Ruleset:
    """Return the chains. ``without``: tables of family ip that are read elsewhere."""
    items = [(kind, body) for entry in document.get("nftables", ()) for kind, body in entry.items()]
    items = [(k, b) for k, b in items if isinstance(b, dict) and b.get("family") in ("ip", "inet")]
    left_out = {f"ip {name}" for name in without}
    sets = {(_table(b), str(b.get("name"))): _elements(b) for kind, b in items if kind in ("set", "map")}
    rules: dict[str, list[FilterRule]] = {}
    for kind, body in items:
        if kind == "rule":
            rules.setdefault(f"{_table(body)} {body['chain']}", []).extend(_rules(body, sets))
    chains = [_chain(b, rules) for kind, b in items if kind == "chain" and _table(b) not in left_out]
    return Ruleset({chain.name: chain for chain in chains})


def tables_of_iptables(document: Json) -> set[str]:
    """Return the tables of family ip with rules that only iptables can read."""
    rules = (entry["rule"] for entry in document.get("nftables", ()) if "rule" in entry)
    return {
        str(rule["table"])
        for rule in rules
        if rule.get("family") == "ip" and any("xt" in statement for statement in rule.get("expr", ()))
    }


def _table(body: Json) -> str:
    return f"{body.get('family')} {body.get('table')}"


def _chain(body: Json, rules: Mapping[str, list[FilterRule]]) -> Chain:
    name = f"{_table(body)} {body['name']}"
    return Chain(
        name=name,
        hook=str(body.get("hook", "")),
        priority=int(body.get("prio", 0)),
        translates=body.get("type") == "nat",
        policy=SIMPLE.get(str(body.get("policy", "accept")), RuleAction.ACCEPT),
        rules=tuple(rules.get(name, ())),
    )


def _rules(body: Json, sets: Sets) -> Iterator[FilterRule]:
    """Return the rule; of a verdict map one rule for each element."""
    table, matches = _table(body), list[Match]()
    text = " ".join(_words(statement) for statement in body.get("expr", ()) if "counter" not in statement)
    for statement in body.get("expr", ()):
        [(kind, value)] = list(statement.items())[:1]
        if kind == "match":
            matches += _match(value, table, sets)
        elif kind in ("jump", "goto"):
            yield FilterRule(tuple(matches), RuleAction(kind), f"{table} {value['target']}", text)
            return
        elif kind == "vmap":
            yield from _verdict_map(value, table, matches, text)
        elif kind in SIMPLE or (kind == "xt" and value.get("name") in XT_TARGETS):
            action = SIMPLE.get(kind) or XT_TARGETS[value["name"]]
            yield FilterRule(tuple(matches), action, text=text)
            return
        elif kind == "mangle":  # of all that a rule may change, only the mark is matched again
            marks = value.get("key") in MARKS
            action = RuleAction.MARK if value.get("key") == MARKS[0] else RuleAction.NOTHING
            yield FilterRule(
                tuple(matches), action, text=text, mark=_mark(value.get("value")) if marks else None
            )
        elif kind not in HARMLESS:
            matches.append(UNKNOWN)  # limit, quota, queue, xt, and whatever comes


def _mark(value: object) -> tuple[int, int] | None:
    """Return what becomes of a mark: (old & first) ^ second; None where that is no constant."""
    match value:
        case bool():
            return None
        case int():
            return 0, value
        case {"|": [{"meta": {"key": "mark"}}, int(bits)]}:
            return ALL_BITS & ~bits, bits
        case {"&": [{"meta": {"key": "mark"}}, int(bits)]}:
            return bits, 0
        case {"^": [{"meta": {"key": "mark"}}, int(bits)]}:
            return ALL_BITS, bits
        case {"^": [{"&": [{"meta": {"key": "mark"}}, int(keep)]}, int(bits)]}:
            return keep, bits
        case {"|": [{"&": [{"meta": {"key": "mark"}}, int(keep)]}, int(bits)]}:
            return keep & ~bits, bits
        case _:
            return None


def _verdict_map(value: Json, table: str, matches: list[Match], text: str) -> Iterator[FilterRule]:
    name = _field(value.get("key"))
    data = value.get("data")
    elements = data.get("set", ()) if isinstance(data, dict) else ()
    for key, verdict in elements:
        [(kind, target)] = list(verdict.items())[:1]
        action = SIMPLE.get(kind) or (RuleAction(kind) if kind in ("jump", "goto") else RuleAction.NOTHING)
        chain = f"{table} {target['target']}" if isinstance(target, dict) else ""
        condition = _implied(value.get("key"))
        if key != "*":
            condition = [*condition, Match(name, _values(name, key))] if name else [UNKNOWN]
        yield FilterRule((*matches, *condition), action, chain, text)
    if not elements:
        yield FilterRule(
            (*matches, UNKNOWN), RuleAction.DROP, text=text
        )  # a named map: not told what is in it


def _match(value: Json, table: str, sets: Sets) -> list[Match]:
    left, right, operator = value.get("left"), value.get("right"), value.get("op")
    mask = 0xFFFFFFFF
    match left:
        case {"&": [inner, int(number)]}:
            left, mask = inner, number
        case _:
            pass
    name = _field(left)
    if not name or operator not in ("==", "!=", "in"):
        return [UNKNOWN]
    if isinstance(right, str) and right.startswith("@"):
        accepted = sets.get((table, right[1:]), ())
    else:
        accepted = _values(name, right)
    if not accepted:
        return [UNKNOWN]
    return [*_implied(left), Match(name, accepted, negated=operator == "!=", mask=mask)]


def _field(left: object) -> str:
    """Return the name of the packet's field that an expression is about; empty if it is not known."""
    match left:
        case {"meta": {"key": str(key)}}:
            return META_FIELDS.get(key, "")
        case {"payload": {"protocol": "ip", "field": str(key)}}:
            return IP_FIELDS.get(key, "")
        case {"payload": {"protocol": "udp" | "tcp" | "th", "field": "sport" | "dport" as key}}:
            return str(key)
        case {"payload": {"protocol": "icmp", "field": "type"}}:
            return "icmptype"
        case {"ct": {"key": "state"}}:
            return "ctstate"
        case _:
            return ""


def _implied(left: object) -> list[Match]:
    """Return the protocol that a look into its header presupposes."""
    match left:
        case {"payload": {"protocol": "udp" | "tcp" | "icmp" as protocol}}:
            number = PROTOCOLS[str(protocol)]
            return [Match("l4proto", ((number, number),))]
        case _:
            return []


def _elements(body: Json) -> tuple[MatchValue, ...]:
    if not isinstance(body.get("type"), str):
        return ()  # of several fields
    name = {"ipv4_addr": "saddr", "ifname": "iifname"}.get(body["type"], "dport")
    return tuple(value for element in body.get("elem", ()) for value in _values(name, element))


def _values(name: str, right: object) -> tuple[MatchValue, ...]:
    """Return the values of a right side; none if one of them is not understood."""
    match right:
        case {"set": list(members)} | list(members):
            found = [_values(name, member) for member in members]
            return tuple(value for values in found for value in values) if all(found) else ()
        case {"elem": {"val": inner}} | {"elem": inner}:
            return _values(name, inner)
        case {"prefix": {"addr": str(address), "len": int(length)}}:
            return _network(address, length)
        case {"range": [low, high]}:
            ends = (_number(name, low), _number(name, high))
            return () if ends[0] is None or ends[1] is None else ((ends[0], ends[1]),)
        case str(text) if name in ("iifname", "oifname", "ctstate"):
            return (text,)
        case _:
            number = _number(name, right)
            return () if number is None else ((number, number),)


def _network(address: str, length: int) -> tuple[MatchValue, ...]:
    try:
        network = IPv4Network((address, length), strict=False)
    except ValueError:
        return ()
    return ((int(network[0]), int(network[-1])),)


def _number(name: str, value: object) -> int | None:
    match value:
        case bool():
            return None
        case int() if name == "ctstate":
            return None
        case int():
            return value
        case str() if name in ("saddr", "daddr"):
            try:
                return int(IPv4Address(value))
            except ValueError:
                return None
        case str() if name in NAMED:
            return NAMED[name].get(value)
        case _:
            return None


def _words(statement: object) -> str:
    """Return a statement in few words, to find the rule by: ``ip saddr 100.64.0.0/10``."""
    match statement:
        case {"match": {"op": operator, "left": left, "right": right}}:
            sign = "" if operator in ("==", "in") else f"{operator} "
            return f"{_words(left)} {sign}{_words(right)}"
        case {"set": list(members)} | list(members):
            return "{" + ",".join(_words(member) for member in members[:4]) + "}"
        case str() | int():
            return str(statement) if WORD.fullmatch(str(statement)) else "…"
        case dict() if len(statement) == 1:
            [(kind, value)] = statement.items()
            return _named(str(kind), value)
        case _:
            return "…"


def _named(kind: str, value: object) -> str:
    """Return what is written as ``{kind: {…}}`` as nft writes it."""
    match value:
        case {"addr": address, "len": length}:
            return f"{address}/{length}"
        case {"protocol": protocol, "field": field}:
            return f"{protocol} {field}"
        case {"key": key}:
            return str(key) if kind == "meta" else f"{kind} {key}"
        case {"target": target} | {"name": target}:
            return f"{kind} {target}"
        case _:
            return kind
