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

from vpnagent.netlink import nft
from vpnagent.netlink.message import NetlinkRequest, attribute, attributes, string
from vpnagent.netlink.nft import NftRule
from vpnagent.routing.objects import LeakGuardRules

OUTWARD_CHAIN, INWARD_CHAIN = "outward", "inward"
HOOKS = {
    OUTWARD_CHAIN: (nft.NF_INET_POST_ROUTING, nft.PRIORITY_FILTER),
    INWARD_CHAIN: (nft.NF_INET_FORWARD, nft.PRIORITY_FILTER),
}
COUNTERS = {"clear_text_out": "out", "clear_text_in": "in"}  #: the metric's word for the direction
TUNNELS, REMOTE_NETWORKS, LOCAL_SIDE = "tunnels", "remote_networks", "local_side"
LOOPBACK = "lo"
DESTINATION = (16, 4)  #: offset and length of it in the IPv4 header
EXIT = re.compile(r"exit (?P<name>\S+)")
BY_DEFAULT = " by default"  #: the local side is where the default route leads

SetKey = tuple[bytes, int]  #: an element's key and flags


def requests(guard: LeakGuardRules) -> Iterator[NetlinkRequest]:
    """Yield what makes counters, sets, chains and rules; the counters and chains may be there."""
    yield from (nft.counter(name) for name in COUNTERS)
    for number, (name, keys) in enumerate(sets(guard).items(), 1):
        yield _set(name, number)
        yield from nft.elements(name, keys)
    yield from (nft.chain(name, *nft.hook(*hooked)) for name, hooked in HOOKS.items())
    yield nft.rule(OUTWARD_CHAIN, "loopback", [*_leaves_by(LOOPBACK), nft.verdict(nft.NF_ACCEPT)])
    tunnels = [nft.meta(nft.NFT_META_OIFNAME), nft.lookup(TUNNELS), nft.verdict(nft.NF_ACCEPT)]
    yield nft.rule(OUTWARD_CHAIN, "tunnels", tunnels)
    for number, (name, _) in enumerate(guard.exits, 1):
        permitted = [*_leaves_by(name), *_is_for(_exit(number)), nft.verdict(nft.NF_ACCEPT)]
        yield nft.rule(OUTWARD_CHAIN, f"exit {name}", permitted)
    yield nft.rule(OUTWARD_CHAIN, _word(guard), [*_is_for(REMOTE_NETWORKS), *_stop("clear_text_out", guard)])
    if guard.local_side is not None:
        came = [nft.meta(nft.NFT_META_IIFNAME), nft.lookup(TUNNELS)]
        leaves = [nft.meta(nft.NFT_META_OIFNAME), nft.lookup(LOCAL_SIDE, inverted=True)]
        comment = _word(guard) + BY_DEFAULT * guard.local_by_default
        yield nft.rule(INWARD_CHAIN, comment, [*came, *leaves, *_stop("clear_text_in", guard)])


def sets(guard: LeakGuardRules) -> dict[str, list[SetKey]]:
    """Return the sets by name, with what is in them."""
    made = {
        TUNNELS: _names(guard.tunnels),
        REMOTE_NETWORKS: _intervals(guard.networks),
        LOCAL_SIDE: _names({*(guard.local_side or ()), *guard.tunnels}),
    }
    return made | {_exit(n): _intervals(networks) for n, (_, networks) in enumerate(guard.exits, 1)}


def set_names(rules: Iterable[NftRule]) -> list[str]:
    """Return the sets that rules of ours, as they stand, rest on."""
    exits = [row for row in rules if row.chain == OUTWARD_CHAIN and EXIT.fullmatch(row.comment)]
    return [TUNNELS, REMOTE_NETWORKS, LOCAL_SIDE, *(_exit(n) for n in range(1, len(exits) + 1))]


def set_keys(body: bytes) -> list[SetKey]:
    """Read an NFT_MSG_NEWSETELEM."""
    listed = attributes(body, nft.NFGENMSG.size).get(nft.NFTA_SET_ELEM_LIST_ELEMENTS, b"")
    return [_set_key(element) for element in nft.repeated(listed)]


def guard_of(rules: Collection[NftRule], found: Mapping[str, Collection[SetKey]]) -> LeakGuardRules | None:
    """Return the guard that rules (in their order) and sets make; None if they are not as we make them."""
    outward = [row.comment for row in rules if row.chain == OUTWARD_CHAIN]
    inward = [row.comment for row in rules if row.chain == INWARD_CHAIN]
    exits = [match["name"] for comment in outward if (match := EXIT.fullmatch(comment))]
    tunnels = _names_of(found[TUNNELS])
    local_side = tuple(name for name in _names_of(found[LOCAL_SIDE]) if name not in tunnels)
    made = LeakGuardRules(
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


def _comments(guard: LeakGuardRules) -> list[str]:
    outward = ["loopback", "tunnels", *(f"exit {name}" for name, _ in guard.exits), _word(guard)]
    inward = [] if guard.local_side is None else [_word(guard) + BY_DEFAULT * guard.local_by_default]
    return outward + inward


def _word(guard: LeakGuardRules) -> str:
    return "drop" if guard.drops else "count"


def _stop(name: str, guard: LeakGuardRules) -> Iterator[bytes]:
    # rt: destination register, key; what another policy is about to encrypt is not in clear.
    yield nft.expression("rt", attribute(1, nft.be32(nft.NFT_REG_1)), attribute(2, nft.be32(nft.NFT_RT_XFRM)))
    yield nft.compare(nft.NFT_CMP_EQ, bytes(1))
    yield nft.count(name)
    if guard.drops:
        yield nft.verdict(nft.NF_DROP)


def _leaves_by(name: str) -> Iterator[bytes]:
    yield nft.meta(nft.NFT_META_OIFNAME)
    yield nft.compare(nft.NFT_CMP_EQ, nft.interface_name(name))


def _is_for(networks: str) -> Iterator[bytes]:
    yield nft.meta(nft.NFT_META_NFPROTO)
    yield nft.compare(nft.NFT_CMP_EQ, bytes([nft.NFPROTO_IPV4]))
    yield nft.payload(nft.NFT_PAYLOAD_NETWORK_HEADER, *DESTINATION)
    yield nft.lookup(networks)


def _exit(number: int) -> str:
    return f"exit_{number}"


def _set(name: str, number: int) -> NetlinkRequest:
    if name in (TUNNELS, LOCAL_SIDE):
        return nft.new_set(name, number, key_type=nft.TYPE_IFNAME, key_length=nft.IFNAMSIZ)
    return nft.new_set(name, number, key_type=nft.TYPE_IPADDR, key_length=4, flags=nft.NFT_SET_INTERVAL)


def _names(names: Iterable[str]) -> list[SetKey]:
    return [(nft.interface_name(name), 0) for name in sorted(names)]


def _names_of(keys: Iterable[SetKey]) -> tuple[str, ...]:
    return tuple(sorted(string(key) for key, _ in keys))


def _intervals(networks: tuple[IPv4Network, ...]) -> list[SetKey]:
    """Return networks as the kernel has them: where each begins, and where it has ended."""
    keys: list[SetKey] = []
    for network in networks:
        keys.append((network.network_address.packed, 0))
        after = int(network.broadcast_address) + 1
        if after < 1 << 32:
            keys.append((after.to_bytes(4), nft.NFT_SET_ELEM_INTERVAL_END))
    return keys


def _networks_of(keys: Iterable[SetKey]) -> tuple[IPv4Network, ...]:
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
    key = attributes(found.get(nft.NFTA_SET_ELEM_KEY, b"")).get(nft.NFTA_DATA_VALUE, b"")
    return key, int.from_bytes(found.get(nft.NFTA_SET_ELEM_FLAGS, b""))
