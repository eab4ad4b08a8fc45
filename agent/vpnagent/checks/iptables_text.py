"""Read what ``iptables-save`` prints (iptables-extensions(8)). Pure.

nft lists the tables of iptables-nft too, but not what iptables' extensions in them do; of iptables-legacy
it knows nothing. An option that is not understood becomes an unknown match.
"""

import shlex
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Final

from vpnagent.checks.firewall import UNKNOWN, Chain, FilterRule, Match, MatchValue, RuleAction
from vpnagent.checks.nft_json import ALL_BITS, PROTOCOLS

HOOKS: Final = ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")
PRIORITIES: Final = {"raw": -300, "mangle": -150, "nat": -100, "filter": 0, "security": 50}
SOURCE_NAT: Final = 100  #: priority of nat's POSTROUTING and INPUT (linux/netfilter_ipv4.h)
TARGETS: Final = {
    "ACCEPT": RuleAction.ACCEPT,
    "DROP": RuleAction.DROP,
    "REJECT": RuleAction.DROP,
    "RETURN": RuleAction.RETURN,
    "MASQUERADE": RuleAction.TRANSLATE,
    "SNAT": RuleAction.TRANSLATE,
    "NETMAP": RuleAction.TRANSLATE,
    "DNAT": RuleAction.REDIRECT,
    "REDIRECT": RuleAction.REDIRECT,
    "TPROXY": RuleAction.REDIRECT,
    "MARK": RuleAction.MARK,
    "CONNMARK": RuleAction.MARK,
}
FIELDS: Final = {
    "-i": "iifname",
    "-o": "oifname",
    "-s": "saddr",
    "-d": "daddr",
    "-p": "l4proto",
    "--sport": "sport",
    "--dport": "dport",
    "--sports": "sport",
    "--dports": "dport",
    "--icmp-type": "icmptype",
    "--ctstate": "ctstate",
    "--state": "ctstate",
    "--mark": "mark",
}
UNDERSTOOD: Final = frozenset({"tcp", "udp", "multiport", "conntrack", "state", "mark", "comment", "icmp"})
MANY_PORTS: Final = ("--sports", "--dports")


def tables(text: str) -> set[str]:
    """Return the tables that are there."""
    return {line[1:].strip() for line in text.splitlines() if line.startswith("*")}


def chains(text: str, family: str = "ip") -> dict[str, Chain]:
    """Return the chains by name, as ``nft_json`` names them. ``family``: ``ip``, or a word for legacy."""
    found: dict[str, Chain] = {}
    rules: dict[str, list[FilterRule]] = {}
    table = ""
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:].strip()
        elif line.startswith(":"):
            name, policy, *_ = line[1:].split()
            found[f"{family} {table} {name}"] = _chain(f"{family} {table}", table, name, policy)
        elif line.startswith("-A "):
            _, name, *words = shlex.split(line)
            rules.setdefault(f"{family} {table} {name}", []).append(_rule(words, f"{family} {table}"))
    return {
        name: Chain(
            name=name,
            hook=chain.hook,
            priority=chain.priority,
            translates=chain.translates,
            policy=chain.policy,
            rules=tuple(rules.get(name, ())),
        )
        for name, chain in found.items()
    }


def _chain(prefix: str, table: str, name: str, policy: str) -> Chain:
    hook = name.lower() if name in HOOKS else ""
    late = table == "nat" and hook in ("postrouting", "input")
    return Chain(
        name=f"{prefix} {name}",
        hook=hook,
        priority=SOURCE_NAT if late else PRIORITIES.get(table, 0),
        translates=table == "nat",
        policy=TARGETS.get(policy, RuleAction.ACCEPT),
    )


def _rule(words: list[str], prefix: str) -> FilterRule:
    text = " ".join(words)
    action, target, mark = RuleAction.NOTHING, "", None
    matches: list[Match] = []
    for option, negated, values in _options(words):
        if option in ("-j", "-g"):
            name = values[0] if values else ""
            # LOG and its like are jumps to chains that are not there: the next rule follows.
            action = TARGETS.get(name, RuleAction.GOTO if option == "-g" else RuleAction.JUMP)
            target = f"{prefix} {name}"
            mark = _new_mark(words[words.index(option) + 2 :]) if name == "MARK" else None
            break  # what follows are the target's own options
        matches += _matches(option, values, negated=negated)
    return FilterRule(tuple(matches), action, target, text, mark)


def _new_mark(words: list[str]) -> tuple[int, int] | None:
    """Read what MARK does: (old & first) ^ second. iptables-save writes ``--set-xmark value/mask``."""
    try:
        [option, text] = words
        value, slash, mask = text.partition("/")
        number, bits = int(value, 0), int(mask, 0) if slash else ALL_BITS
    except ValueError:
        return None
    match option:
        case "--set-xmark":
            return ALL_BITS & ~bits, number
        case "--set-mark":
            return ALL_BITS & ~(bits | number), number
        case "--or-mark":
            return ALL_BITS & ~number, number
        case "--and-mark":
            return number, 0
        case "--xor-mark":
            return ALL_BITS, number
        case _:
            return None


def _options(words: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Split a rule in its options: name, whether ``!`` stands before it, and values."""
    negated, index = False, 0
    while index < len(words):
        if words[index] == "!":
            negated, index = True, index + 1
            continue
        end = index + 1
        while end < len(words) and not words[end].startswith("-") and words[end] != "!":
            end += 1
        yield words[index], negated, words[index + 1 : end]
        negated, index = False, end


def _matches(option: str, values: list[str], *, negated: bool) -> list[Match]:
    if option == "--comment" or (option == "-m" and values and values[0] in UNDERSTOOD):
        return []
    field = FIELDS.get(option)
    if field is None or not values:
        return [UNKNOWN]
    if field == "mark":
        return [_mark(values[0], negated=negated)]
    words = values[0].split(",") if option in (*MANY_PORTS, "--ctstate", "--state") else [values[0]]
    found = [_value(field, word) for word in words]
    if None in found:
        return [UNKNOWN]
    return [Match(field, tuple(v for v in found if v is not None), negated)]


def _mark(text: str, *, negated: bool) -> Match:
    value, _, mask = text.partition("/")
    try:
        number = int(value, 0)
        return Match("mark", ((number, number),), negated, int(mask, 0) if mask else 0xFFFFFFFF)
    except ValueError:
        return UNKNOWN


def _value(field: str, word: str) -> MatchValue | None:
    try:
        return _READERS[field](word)
    except ValueError:
        return None


def _network(word: str) -> MatchValue:
    network = IPv4Network(word, strict=False)
    return int(network[0]), int(network[-1])


def _port(word: str) -> MatchValue:
    low, colon, high = word.partition(":")
    return int(low or 0), int(high or 65535) if colon else int(low)


def _protocol(word: str) -> MatchValue:
    number = PROTOCOLS[word] if word in PROTOCOLS else int(word)
    return number, number


def _icmp_type(word: str) -> MatchValue:
    """Read a type; one with a code of its own is not understood."""
    return (0, 255) if word == "any" else (int(word), int(word))


def _interface(word: str) -> MatchValue:
    return f"{word[:-1]}*" if word.endswith("+") else word


_READERS: Final[Mapping[str, Callable[[str], MatchValue]]] = {
    "iifname": _interface,
    "oifname": _interface,
    "saddr": _network,
    "daddr": _network,
    "l4proto": _protocol,
    "sport": _port,
    "dport": _port,
    "icmptype": _icmp_type,
    "ctstate": str.lower,
}
