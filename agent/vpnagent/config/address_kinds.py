"""The kinds of value that are IPv4 addresses and networks; see ``field_types``.

Only what a host or a routed network can have is accepted. An IPv6 address is told from nonsense.
"""

import re
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface
from typing import Final, TypeVar

from vpnagent.config.field_types import Kind, string
from vpnagent.config.wording import listed, said, shown

T = TypeVar("T")

#: what is not routed on the Internet: RFC 1918, RFC 6598
PRIVATE: Final = tuple(map(IPv4Network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10")))

#: special-purpose blocks (RFC 6890) in which there is neither a host nor a routed network
SPECIAL: Final = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}


def _parsed(value: object, parse: Callable[[str], T], rule: str) -> T:
    """Return what ``parse`` makes of a text. Raises ValueError with the rule and the value."""
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError:
            if _is_ipv6(value):
                rule = f"IPv6 is not supported yet: {rule}"
    raise ValueError(said(f"{rule}, not {{}}", shown(value)))


def _is_ipv6(text: str) -> bool:
    host = text.removeprefix("[").partition("]")[0]
    try:
        IPv6Interface(host)
    except ValueError:
        return False
    return True


def _address(value: object) -> IPv4Address:
    found = _parsed(value, IPv4Address, "must be an IPv4 address such as 192.0.2.1")
    _refuse_special(found)
    return found


def _refuse_special(address: IPv4Address) -> None:
    for block, name in SPECIAL.items():
        if address in block:
            raise ValueError(
                said("must be the unicast address of a host, not {} ({}, {})", address, name, block)
            )


def _address_or_any(value: object) -> IPv4Address | None:
    return None if value == "%any" else _address(value)


_PREFIX = re.compile(r"[0-9.]+/([0-9]|[12][0-9]|3[0-2])", re.ASCII)


def _prefix(text: str) -> IPv4Interface:
    # ipaddress takes netmasks too, and an address without a length for a single host.
    if not _PREFIX.fullmatch(text):
        raise ValueError
    return IPv4Interface(text)


def _network(value: object) -> IPv4Network:
    written = _parsed(value, _prefix, "must be an IPv4 network such as 172.16.0.0/16")
    network = written.network
    if written.ip != network.network_address:
        raise ValueError(said("{} has host bits set: the network is {}", written, network))
    if network.prefixlen == 0:
        raise ValueError(
            said("must name the networks themselves, not {}, which takes the default route", network)
        )
    for block, name in SPECIAL.items():
        if network.overlaps(block):
            raise ValueError(said("{} must not overlap {} ({})", network, block, name))
    return network


def _inside_address(value: object) -> IPv4Interface:
    rule = "must be this gateway's address in the tunnel's /30, such as 169.254.10.2/30"
    interface = _parsed(value, _slash_30, rule)
    _refuse_special(interface.ip)
    hosts = list(interface.network.hosts())
    if interface.ip not in hosts:
        raise ValueError(
            said("must be an address of a host, {}, not {}", listed(map(str, hosts)), interface.ip)
        )
    return interface


def _slash_30(text: str) -> IPv4Interface:
    if not text.endswith("/30"):
        raise ValueError
    return _prefix(text)


_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
MAX_PORT: Final = 65535


def _listen(value: object) -> str:
    if value == "":
        return ""
    return _parsed(
        value, _endpoint, "must be an IPv4 address and a port such as 127.0.0.1:9786, or '' for none"
    )


def _endpoint(text: str) -> str:
    host, _, port = text.rpartition(":")
    IPv4Address(host)
    if not _PORT.fullmatch(port) or int(port) > MAX_PORT:
        raise ValueError
    return text


ADDRESS: Final = Kind(_address, string("IPv4 address", format="ipv4", examples=["203.0.113.1"]))
ADDRESS_OR_ANY: Final = Kind(
    _address_or_any,
    {"anyOf": [{"type": "string", "format": "ipv4"}, {"const": "%any"}], "title": "IPv4 address or %any"},
)
NETWORK: Final = Kind(
    _network, string("IPv4 network", pattern=r"^[0-9.]+/[0-9]+$", examples=["172.16.0.0/16"])
)
INSIDE_ADDRESS: Final = Kind(
    _inside_address, string("IPv4 address/30", pattern=r"^[0-9.]+/30$", examples=["169.254.10.2/30"])
)
LISTEN: Final = Kind(
    _listen, string("address:port", pattern=r"^([0-9.]+:[0-9]+)?$", examples=["127.0.0.1:9786"])
)
