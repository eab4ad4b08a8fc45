import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from vpnagent.config.kinds import ADDRESS, ADDRESS_OR_ANY, INSIDE_ADDRESS, LISTEN, NETWORK, Kind

AN_ADDRESS = "must be an IPv4 address such as 192.0.2.1, not"
A_NETWORK = "must be an IPv4 network such as 172.16.0.0/16, not"
A_SLASH_30 = "must be this gateway's address in the tunnel's /30, such as 169.254.10.2/30, not"
AN_ENDPOINT = "must be an IPv4 address and a port such as 127.0.0.1:9786, or '' for none, not"

REFUSED: list[tuple[Kind, object, str]] = [
    (ADDRESS, "203.0.113", f"{AN_ADDRESS} '203.0.113'"),
    (ADDRESS, "203.0.113.01", f"{AN_ADDRESS} '203.0.113.01'"),
    (ADDRESS, "203.0.113.1/32", f"{AN_ADDRESS} '203.0.113.1/32'"),
    (ADDRESS, 3405803777, f"{AN_ADDRESS} 3405803777"),
    (ADDRESS, None, f"{AN_ADDRESS} empty"),
    (ADDRESS, "2001:db8::1", f"IPv6 is not supported yet: {AN_ADDRESS} '2001:db8::1'"),
    (ADDRESS, "0.0.0.0", "must be the unicast address of a host, not 0.0.0.0 (this network, 0.0.0.0/8)"),
    (ADDRESS, "127.0.0.1", "must be the unicast address of a host, not 127.0.0.1 (loopback, 127.0.0.0/8)"),
    (ADDRESS, "224.0.0.5", "must be the unicast address of a host, not 224.0.0.5 (multicast, 224.0.0.0/4)"),
    (
        ADDRESS,
        "255.255.255.255",
        "must be the unicast address of a host, not 255.255.255.255 (reserved, 240.0.0.0/4)",
    ),
    (ADDRESS_OR_ANY, "any", f"{AN_ADDRESS} 'any'"),
    (NETWORK, "172.16.0.0", f"{A_NETWORK} '172.16.0.0'"),
    (NETWORK, "172.16.0.0/255.255.0.0", f"{A_NETWORK} '172.16.0.0/255.255.0.0'"),
    (NETWORK, "172.16.0.0/33", f"{A_NETWORK} '172.16.0.0/33'"),
    (NETWORK, "172.16.0.0/016", f"{A_NETWORK} '172.16.0.0/016'"),
    (NETWORK, "172.16/16", f"{A_NETWORK} '172.16/16'"),
    (NETWORK, 10.1, f"{A_NETWORK} 10.1"),
    (NETWORK, "2001:db8::/32", f"IPv6 is not supported yet: {A_NETWORK} '2001:db8::/32'"),
    (NETWORK, "10.1.2.3/16", "10.1.2.3/16 has host bits set: the network is 10.1.0.0/16"),
    (NETWORK, "0.0.0.0/0", "must name the networks themselves, not 0.0.0.0/0, which takes the default route"),
    (NETWORK, "127.0.0.0/16", "127.0.0.0/16 must not overlap 127.0.0.0/8 (loopback)"),
    (NETWORK, "128.0.0.0/1", "128.0.0.0/1 must not overlap 224.0.0.0/4 (multicast)"),
    (INSIDE_ADDRESS, "169.254.10.2", f"{A_SLASH_30} '169.254.10.2'"),
    (INSIDE_ADDRESS, "169.254.10.2/29", f"{A_SLASH_30} '169.254.10.2/29'"),
    (INSIDE_ADDRESS, "fd00::2/30", f"IPv6 is not supported yet: {A_SLASH_30} 'fd00::2/30'"),
    (
        INSIDE_ADDRESS,
        "169.254.10.3/30",
        "must be an address of a host, 169.254.10.1 or 169.254.10.2, not 169.254.10.3",
    ),
    (
        INSIDE_ADDRESS,
        "127.0.0.1/30",
        "must be the unicast address of a host, not 127.0.0.1 (loopback, 127.0.0.0/8)",
    ),
    (LISTEN, "127.0.0.1", f"{AN_ENDPOINT} '127.0.0.1'"),
    (LISTEN, ":9786", f"{AN_ENDPOINT} ':9786'"),
    (LISTEN, "127.0.0.1:0", f"{AN_ENDPOINT} '127.0.0.1:0'"),
    (LISTEN, "127.0.0.1:65536", f"{AN_ENDPOINT} '127.0.0.1:65536'"),
    (LISTEN, "localhost:9786", f"{AN_ENDPOINT} 'localhost:9786'"),
    (LISTEN, 9786, f"{AN_ENDPOINT} 9786"),
    (LISTEN, "[::1]:9786", f"IPv6 is not supported yet: {AN_ENDPOINT} '[::1]:9786'"),
]


@pytest.mark.parametrize(("kind", "value", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_an_address_out_of_its_kind_is_refused_with_rule_and_value(
    kind: Kind, value: object, text: str
) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        kind.parse(value)


ACCEPTED: list[tuple[Kind, object, object]] = [
    (ADDRESS, "203.0.113.1", IPv4Address("203.0.113.1")),
    (ADDRESS, "169.254.10.1", IPv4Address("169.254.10.1")),
    (ADDRESS_OR_ANY, "%any", None),
    (ADDRESS_OR_ANY, "192.0.2.2", IPv4Address("192.0.2.2")),
    (NETWORK, "100.64.0.0/10", IPv4Network("100.64.0.0/10")),
    (NETWORK, "100.100.2.136/32", IPv4Network("100.100.2.136/32")),
    (INSIDE_ADDRESS, "169.254.10.2/30", IPv4Interface("169.254.10.2/30")),
    (LISTEN, "0.0.0.0:65535", "0.0.0.0:65535"),
    (LISTEN, "", ""),
]


@pytest.mark.parametrize(("kind", "value", "result"), ACCEPTED)
def test_an_address_of_its_kind_is_taken(kind: Kind, value: object, result: object) -> None:
    assert kind.parse(value) == result
