"""The second wall in our nftables table: what is for the cloud, or came from it, is not let out in clear.

    chain outward {
        type filter hook postrouting priority filter; policy accept;
        oifname "lo" accept  # loopback
        oifname @tunnels accept  # tunnels
        oifname "eth3" ip daddr @exit_1 accept  # exit eth3
        ip daddr @remote_networks rt ipsec missing counter name "clear_text_out" drop  # drop
    }
    chain inward {
        type filter hook forward priority filter; policy accept;
        iifname @tunnels oifname != @local_side rt ipsec missing counter name "clear_text_in" drop  # drop
    }

Judged by the interface by which a packet leaves, where no mark, rule or rewriting can change it any more.
What another IPsec policy of the machine encrypts is not in clear. Without ``drop`` it only counts. The
counters are named, so that they go on when the rest is made anew. No I/O.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, collapse_addresses, summarize_address_range

from vpnagent.routing.message import Request, attribute, attributes, string
from vpnagent.routing.nft_message import (
    IFNAMSIZ,
    NF_ACCEPT,
    NF_DROP,
    NF_INET_FORWARD,
    NF_INET_POST_ROUTING,
    NFGENMSG,
    NFPROTO_IPV4,
    NFT_CMP_EQ,
    NFT_META_IIFNAME,
    NFT_META_NFPROTO,
    NFT_META_OIFNAME,
    NFT_PAYLOAD_NETWORK_HEADER,
    NFT_REG_1,
    NFT_RT_XFRM,
    NFT_SET_ELEM_INTERVAL_END,
    NFT_SET_INTERVAL,
    NFTA_DATA_VALUE,
    NFTA_SET_ELEM_FLAGS,
    NFTA_SET_ELEM_KEY,
    NFTA_SET_ELEM_LIST_ELEMENTS,
    PRIORITY_FILTER,
    TYPE_IFNAME,
    TYPE_IPADDR,
    be32,
    chain,
    compare,
    count,
    counter,
    elements,
    expression,
    hook,
    interface_name,
    lookup,
    meta,
    new_set,
    payload,
    repeated,
    rule,
    verdict,
)
from vpnagent.routing.objects import LeakGuard
from vpnagent.routing.rule_row import RuleRow

OUTWARD_CHAIN, INWARD_CHAIN = "outward", "inward"
HOOKS = {
    OUTWARD_CHAIN: (NF_INET_POST_ROUTING, PRIORITY_FILTER),
    INWARD_CHAIN: (NF_INET_FORWARD, PRIORITY_FILTER),
}
COUNTERS = {"clear_text_out": "out", "clear_text_in": "in"}  #: the metric's word for the direction
TUNNELS, REMOTE_NETWORKS, LOCAL_SIDE = "tunnels", "remote_networks", "local_side"
LOOPBACK = "lo"
DESTINATION = (16, 4)  #: offset and length of it in the IPv4 header
EXIT = re.compile(r"exit (?P<name>\S+)")
BY_DEFAULT = " by default"  #: the local side is where the default route leads

SetKey = tuple[bytes, int]  #: an element's key and flags
Networks = tuple[IPv4Network, ...]


def requests(guard: LeakGuard) -> Iterator[Request]:
    """Yield what makes counters, sets, chains and rules; the counters and chains may be there."""
    yield from (counter(name) for name in COUNTERS)
    for number, (name, keys) in enumerate(sets(guard).items(), 1):
        yield _set(name, number)
        yield from elements(name, keys)
    yield from (chain(name, *hook(*hooked)) for name, hooked in HOOKS.items())
    yield rule(OUTWARD_CHAIN, "loopback", [*_leaves_by(LOOPBACK), verdict(NF_ACCEPT)])
    tunnels = [meta(NFT_META_OIFNAME), lookup(TUNNELS), verdict(NF_ACCEPT)]
    yield rule(OUTWARD_CHAIN, "tunnels", tunnels)
    for number, (name, _) in enumerate(guard.exits, 1):
        permitted = [*_leaves_by(name), *_is_for(_exit(number)), verdict(NF_ACCEPT)]
        yield rule(OUTWARD_CHAIN, f"exit {name}", permitted)
    yield rule(OUTWARD_CHAIN, _word(guard), [*_is_for(REMOTE_NETWORKS), *_stop("clear_text_out", guard)])
    if guard.local_side is not None:
        came = [meta(NFT_META_IIFNAME), lookup(TUNNELS)]
        leaves = [meta(NFT_META_OIFNAME), lookup(LOCAL_SIDE, inverted=True)]
        comment = _word(guard) + BY_DEFAULT * guard.local_by_default
        yield rule(INWARD_CHAIN, comment, [*came, *leaves, *_stop("clear_text_in", guard)])


def sets(guard: LeakGuard) -> dict[str, list[SetKey]]:
    """Return the sets by name, with what is in them."""
    made = {
        TUNNELS: _names(guard.tunnels),
        REMOTE_NETWORKS: _intervals(guard.networks),
        LOCAL_SIDE: _names({*(guard.local_side or ()), *guard.tunnels}),
    }
    return made | {_exit(n): _intervals(networks) for n, (_, networks) in enumerate(guard.exits, 1)}


def set_names(rules: Iterable[RuleRow]) -> list[str]:
    """Return the sets that rules of ours, as they stand, rest on."""
    exits = [row for row in rules if row.chain == OUTWARD_CHAIN and EXIT.fullmatch(row.comment)]
    return [TUNNELS, REMOTE_NETWORKS, LOCAL_SIDE, *(_exit(n) for n in range(1, len(exits) + 1))]


def set_keys(body: bytes) -> list[SetKey]:
    """Read an NFT_MSG_NEWSETELEM."""
    listed = attributes(body, NFGENMSG.size).get(NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    return [_set_key(element) for element in repeated(listed)]


def guard_of(rules: Collection[RuleRow], found: Mapping[str, Collection[SetKey]]) -> LeakGuard | None:
    """Return the guard that rules (in their order) and sets make; None if they are not as we make them."""
    outward = [row.comment for row in rules if row.chain == OUTWARD_CHAIN]
    inward = [row.comment for row in rules if row.chain == INWARD_CHAIN]
    exits = [match["name"] for comment in outward if (match := EXIT.fullmatch(comment))]
    tunnels = _names_of(found[TUNNELS])
    local_side = tuple(name for name in _names_of(found[LOCAL_SIDE]) if name not in tunnels)
    made = LeakGuard(
        drops=outward[-1:] == ["drop"],
        tunnels=tunnels,
        networks=_networks_of(found[REMOTE_NETWORKS]),
        exits=tuple((name, _networks_of(found[_exit(n)])) for n, name in enumerate(exits, 1)),
        local_side=local_side if inward else None,
        local_by_default=bool(inward) and inward[0].endswith(BY_DEFAULT),
    )
    as_made = [*outward, *inward] == _comments(made) and {k: sorted(v) for k, v in found.items()} == {
        name: sorted(keys) for name, keys in sets(made).items()
    }
    return made if as_made else None


def _comments(guard: LeakGuard) -> list[str]:
    outward = ["loopback", "tunnels", *(f"exit {name}" for name, _ in guard.exits), _word(guard)]
    inward = [] if guard.local_side is None else [_word(guard) + BY_DEFAULT * guard.local_by_default]
    return outward + inward


def _word(guard: LeakGuard) -> str:
    return "drop" if guard.drops else "count"


def _stop(name: str, guard: LeakGuard) -> Iterator[bytes]:
    # rt: destination register, key; what another policy is about to encrypt is not in clear.
    yield expression("rt", attribute(1, be32(NFT_REG_1)), attribute(2, be32(NFT_RT_XFRM)))
    yield compare(NFT_CMP_EQ, bytes(1))
    yield count(name)
    if guard.drops:
        yield verdict(NF_DROP)


def _leaves_by(name: str) -> Iterator[bytes]:
    yield meta(NFT_META_OIFNAME)
    yield compare(NFT_CMP_EQ, interface_name(name))


def _is_for(networks: str) -> Iterator[bytes]:
    yield meta(NFT_META_NFPROTO)
    yield compare(NFT_CMP_EQ, bytes([NFPROTO_IPV4]))
    yield payload(NFT_PAYLOAD_NETWORK_HEADER, *DESTINATION)
    yield lookup(networks)


def _exit(number: int) -> str:
    return f"exit_{number}"


def _set(name: str, number: int) -> Request:
    if name in (TUNNELS, LOCAL_SIDE):
        return new_set(name, number, key_type=TYPE_IFNAME, key_length=IFNAMSIZ)
    return new_set(name, number, key_type=TYPE_IPADDR, key_length=4, flags=NFT_SET_INTERVAL)


def _names(names: Iterable[str]) -> list[SetKey]:
    return [(interface_name(name), 0) for name in sorted(names)]


def _names_of(keys: Iterable[SetKey]) -> tuple[str, ...]:
    return tuple(sorted(string(key) for key, _ in keys))


def _intervals(networks: Networks) -> list[SetKey]:
    """Return networks as the kernel has them: where each begins, and where it has ended."""
    keys: list[SetKey] = []
    for network in networks:
        keys.append((network.network_address.packed, 0))
        after = int(network.broadcast_address) + 1
        if after < 1 << 32:
            keys.append((after.to_bytes(4), NFT_SET_ELEM_INTERVAL_END))
    return keys


def _networks_of(keys: Iterable[SetKey]) -> Networks:
    found: list[IPv4Network] = []
    begun: int | None = None
    for number, flags in sorted((int.from_bytes(key), -flags) for key, flags in keys):
        if begun is not None:
            found += summarize_address_range(IPv4Address(begun), IPv4Address(number - 1))
        begun = None if flags else number
    if begun is not None:
        found += summarize_address_range(IPv4Address(begun), IPv4Address(0xFFFFFFFF))
    return tuple(collapse_addresses(found))


def _set_key(element: bytes) -> SetKey:
    found = attributes(element)
    key = attributes(found.get(NFTA_SET_ELEM_KEY, b"")).get(NFTA_DATA_VALUE, b"")
    return key, int.from_bytes(found.get(NFTA_SET_ELEM_FLAGS, b""))
