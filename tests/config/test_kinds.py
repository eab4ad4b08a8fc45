import re
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import pytest

from vpnagent.config import kinds
from vpnagent.config.kinds import (
    ADDRESS,
    ADDRESS_OR_ANY,
    INSIDE_ADDRESS,
    LISTEN,
    NETWORK,
    Kind,
    choice,
    duration,
    integer,
    member,
    rate,
)
from vpnagent.config.values import Role

AN_ADDRESS = "must be an IPv4 address such as 192.0.2.1, not"
A_NETWORK = "must be an IPv4 network such as 172.16.0.0/16, not"
A_SLASH_30 = "must be this gateway's address in the tunnel's /30, such as 169.254.10.2/30, not"
AN_ENDPOINT = "must be an IPv4 address and a port such as 127.0.0.1:9786, or '' for none, not"

INTEGER = integer(576, 9000)
DURATION = duration("10ms", "60s")
RATE = rate("64kbps", "1Gbps")
CHOICE = choice(1, "main")
ROLE = member(Role)
INTERFACE_RULE = (
    "must be the name of an interface: letters, digits, '_', '-' and '.', a letter or digit first"
)

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
    (INTEGER, 575, "must be an integer from 576 to 9000, not 575"),
    (INTEGER, 9001, "must be an integer from 576 to 9000, not 9001"),
    (INTEGER, 1399.0, "must be an integer from 576 to 9000, not 1399.0"),
    (INTEGER, "1399", "must be an integer from 576 to 9000, not '1399'"),
    (INTEGER, None, "must be an integer from 576 to 9000, not empty"),
    (integer(0, 1), True, "must be an integer from 0 to 1, not true"),
    (DURATION, "9ms", "must be a duration from 10ms to 60s, not '9ms'"),
    (DURATION, 61, "must be a duration from 10ms to 60s, not 61"),
    (DURATION, "soon", "must be a duration such as 100ms, 5s, 2m, 24h, or a number of seconds, not 'soon'"),
    (RATE, 1000, "must be a rate from 64kbps to 1Gbps, not 1000"),
    (RATE, "2Gbps", "must be a rate from 64kbps to 1Gbps, not '2Gbps'"),
    (CHOICE, True, "must be 1 or main, not true"),
    (CHOICE, 1.0, "must be 1 or main, not 1.0"),
    (CHOICE, "1", "must be 1 or main, not '1'"),
    (CHOICE, ["main"], "must be 1 or main, not a list"),
    (CHOICE, "sm4", "must be 1 or main, not 'sm4'"),
    (ROLE, "master", "must be active or standby, not 'master'"),
    (kinds.BOOLEAN, "no", "must be true or false, not 'no'"),
    (kinds.BOOLEAN, 0, "must be true or false, not 0"),
    (kinds.NAME, "a b", "must be a name of 1 to 32 letters, digits, '_' and '-', not 'a b'"),
    (kinds.NAME, "x" * 33, f"must be a name of 1 to 32 letters, digits, '_' and '-', not '{'x' * 33}'"),
    (kinds.NAME, "", "must be a name of 1 to 32 letters, digits, '_' and '-', not ''"),
    (kinds.NAME, "a\n", "must be a name of 1 to 32 letters, digits, '_' and '-', not 'a\\n'"),
    (kinds.NAME, "é", "must be a name of 1 to 32 letters, digits, '_' and '-', not 'é'"),
    (kinds.NAME, 7, "must be a name of 1 to 32 letters, digits, '_' and '-', not 7"),
    (kinds.WORD, "a b", "must be a word of 1 to 64 characters without white space, not 'a b'"),
    (
        kinds.IDENTITY,
        "%any",
        "must name one peer, without wildcards and white space around it, not '%any'",
    ),
    (
        kinds.IDENTITY,
        "gé",
        "must be an address, a name or a certificate's subject of 1 to 100 ASCII characters, not 'gé'",
    ),
    (kinds.IDENTITY, "*", "must name one peer, without wildcards and white space around it, not '*'"),
    *(
        (
            kinds.IDENTITY,
            pattern,
            f"must name one peer, and to charon it lets in several, not '{pattern}'",
        )
        for pattern in (
            *("10.0.0.0/16", "10.0.0.1/32", "10.0.0.1-10.0.0.9", "2001:db8::/32", "0.0.0.0", "::", "0::0"),
            *("ipv4net:10.0.0.0/8", "IPV4RANGE:10.0.0.1-10.0.0.2", "fqdn:^gw.+$", "email:^.+@example[.]com$"),
        )
    ),
    (
        kinds.IDENTITY,
        "asn1dn:^CN=.+$",
        "must name one peer, and to charon it lets in several, not what is there, which may be a secret",
    ),
    (kinds.IDENTITY, " a", "must name one peer, without wildcards and white space around it, not ' a'"),
    (
        kinds.IDENTITY,
        "",
        "must be an address, a name or a certificate's subject of 1 to 100 ASCII characters, not ''",
    ),
    (
        kinds.INTERFACE,
        "vpn-hangzhou-backup",
        "must be the name of an interface: at most 15 characters, not 'vpn-hangzhou-backup' (19)",
    ),
    (
        kinds.INTERFACE,
        "a/b",
        f"{INTERFACE_RULE}, not 'a/b'",
    ),
    (
        kinds.INTERFACE,
        "..",
        f"{INTERFACE_RULE}, not '..'",
    ),
    (kinds.INTERFACE, "all", "must be the name of an interface, and all is the kernel's own"),
    (kinds.PATH, "run", "must be an absolute path, not 'run'"),
    (kinds.PATH, "/a\nb", "must be an absolute path, not '/a\\nb'"),
    (kinds.PATH, 1, "must be an absolute path, not 1"),
    (kinds.SOCKET_PATH, "/" + "ä" * 54, f"must be a path of at most 107 bytes, not '/{'ä' * 54}'"),
]


@pytest.mark.parametrize(("kind", "value", "text"), REFUSED, ids=[text for _, _, text in REFUSED])
def test_a_value_out_of_its_kind_is_refused_with_rule_and_value(kind: Kind, value: object, text: str) -> None:
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
    (INTEGER, 576, 576),
    (INTEGER, 9000, 9000),
    (DURATION, "10ms", 0.01),
    (DURATION, 60, 60.0),
    (RATE, "64kbps", 64e3),
    (CHOICE, 1, 1),
    (CHOICE, "main", "main"),
    (ROLE, "active", Role.ACTIVE),
    (kinds.BOOLEAN, False, False),
    (kinds.NAME, "-_9aZ" + "x" * 27, "-_9aZ" + "x" * 27),
    (kinds.WORD, "vpn-bp1…", "vpn-bp1…"),
    (kinds.IDENTITY, "CN=gateway, O=IDC", "CN=gateway, O=IDC"),
    (kinds.IDENTITY, "x" * 100, "x" * 100),
    (kinds.IDENTITY, "a-b", "a-b"),
    (kinds.IDENTITY, "^gw$", "^gw$"),
    (kinds.IDENTITY, "10.0.0.1-office", "10.0.0.1-office"),
    (kinds.IDENTITY, "/C=CN/CN=gw", "/C=CN/CN=gw"),
    (kinds.INTERFACE, "eth0.100", "eth0.100"),
    (kinds.INTERFACE, "x" * 15, "x" * 15),
    (kinds.PATH, "/run/ä", "/run/ä"),
    (kinds.SOCKET_PATH, "/" + "x" * 106, "/" + "x" * 106),
]


@pytest.mark.parametrize(("kind", "value", "result"), ACCEPTED)
def test_a_value_of_its_kind_is_taken(kind: Kind, value: object, result: object) -> None:
    assert kind.parse(value) == result


@pytest.mark.parametrize("kind", [kinds.FILE, kinds.CREDENTIAL])
@pytest.mark.parametrize("value", ["hush\nhush", "", "hush" * 2000, ["hush"]])
def test_what_leads_to_a_secret_is_not_shown(kind: Kind, value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be the name of a ") as caught:
        kind.parse(value)

    assert "hush" not in str(caught.value)
