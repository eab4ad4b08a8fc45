"""Values that mean something else on the wire, or in the cloud, than they look like. Pure.

``check``, ``init``, ``import`` and ``export`` all tell what stands here. These are warnings and no errors, as
such a value may have been made to work from both ends; what lets any peer in, or none, is refused by
``kinds`` and ``rules``. An identity may be a key in the wrong place: none of the texts shows one.

Identities: strongSwan src/libstrongswan/utils/identification.c, identification_create_from_string. Keys and
the inside of tunnels: CreateVpnConnection (2016-04-28).
"""

import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address
from typing import Final, NamedTuple

from vpnagent.config.values import Config
from vpnagent.config.wording import key_path, tunnels
from vpnagent.finding import Finding, Severity
from vpnagent.record import replace
from vpnagent.secret import Secret

LONGEST_KEY: Final = 100  #: characters that the cloud takes

INSIDE: Final = IPv4Network("169.254.0.0/16")  #: where the cloud has the addresses inside of tunnels
RESERVED: Final = (
    *(IPv4Network(f"169.254.{number}.0/30") for number in range(7)),
    IPv4Network("169.254.169.252/30"),
)  #: what it keeps of them for itself


class Sort(NamedTuple):
    """What charon makes of an identity that looks like something else."""

    text: str
    hint: str


_PLAIN: Final = "write an address, or a name without a type, here and in the cloud's form"
_TYPED: Final = re.compile(
    r"(ipv4|ipv6|ipv4net|ipv6net|ipv4range|ipv6range|rfc822|email|userfqdn|fqdn|dns|asn1dn|asn1gn|xmppaddr"
    r"|keyid|uri):|\{(0x[0-9a-f]+|[0-9]+)\}:",
    re.IGNORECASE,
)
_NUMBERS: Final = re.compile(r"[0-9.]+", re.ASCII)
_MASKED: Final = re.compile(r"(?=.*[xX*])([0-9]{1,3}|[xX*]+)(\.([0-9]{1,3}|[xX*]+)){3}", re.ASCII)
_SUBJECT: Final = re.compile(r"[/ ]*([A-Za-z]+)[ ]*=")
#: the attributes of a certificate's subject that charon knows
_ATTRIBUTES: Final = frozenset(
    {
        "nd", "uid", "dc", "cn", "sn", "serialnumber", "c", "l", "st", "street", "o", "ou",
        "organizationidentifier", "t", "d", "postaladdress", "postalcode", "n", "g", "i", "dnqualifier",
        "dmdname", "pseudonym", "id", "en", "employeenumber", "e", "email", "emailaddress", "un",
        "unstructuredname", "ua", "unstructuredaddress", "tcgid",
    }
)  # fmt: skip


def notation(config: Config) -> list[Finding]:
    """Return what is said of a configuration's identities, keys and addresses inside of tunnels."""
    found = []
    for place in tunnels(config):
        tunnel = place.tunnel
        for key in ("local_id", "remote_id"):
            if sort := sort_of(getattr(tunnel, key)):
                found.append(_warning("IdentityNotation", key_path(place.key(key)), *sort))
        if tunnel.psk is not None:
            subject = key_path(place.path)
            found += [replace(finding, subject=subject) for finding in key_notation(tunnel.psk)]
        if tunnel.inside_address and is_forbidden(tunnel.inside_address):
            found.append(
                _warning(
                    "InsideAddressForbidden",
                    key_path(place.key("inside_address")),
                    f"{tunnel.inside_address.network} is nothing that the cloud takes inside a tunnel: "
                    f"there it has /30 blocks of {INSIDE}, and keeps some for itself",
                    "choose another /30 of it, such as 169.254.10.0/30, here and in the cloud's BGP form; "
                    "without BGP leave it out",
                )
            )
    return found


def sent_as(identity: str) -> str:
    """Return an identity as the cloud's form must have it: a name without the '@' that charon strips."""
    return identity[1:] if identity.startswith("@") and identity[1:2] not in ("@", "#", "") else identity


def is_forbidden(inside: IPv4Interface) -> bool:
    """Whether the cloud refuses an address inside of a tunnel (TunnelCidr)."""
    return not inside.network.subnet_of(INSIDE) or inside.network in RESERVED


def is_masked(text: str) -> bool:
    """Whether it is an address with some numbers made unreadable, as in ``8.xx.xx.192``."""
    return bool(_MASKED.fullmatch(text))


def sort_of(identity: str) -> Sort | None:
    """Return what charon makes of an identity; None for the address, name or subject that it looks like."""
    if typed := _TYPED.match(identity):
        kind = (typed[1] or typed[2]).casefold()
        return Sort(f"is of the type {kind} to charon, and what stands before the colon is not sent", _PLAIN)
    if "=" in identity:
        attribute = _SUBJECT.match(identity)
        known = attribute is not None and attribute[1].casefold() in _ATTRIBUTES
        return None if known else _KEY_ID
    if "@" in identity:
        return _with_at(identity)
    if ":" in identity:
        return Sort("is an IPv6 address, which the cloud has not", _PLAIN) if _is_ipv6(identity) else _KEY_ID
    return _of_name(identity)


_KEY_ID: Final = Sort("is sent as a key id, which the cloud's form does not have", _PLAIN)


def _with_at(identity: str) -> Sort:
    if identity.startswith("@#"):
        return _KEY_ID
    if identity.startswith("@@") or not identity.startswith("@"):
        return Sort("is sent as a mail address, which the cloud's form does not name", _PLAIN)
    hint = "write it without the '@', here and in the cloud's form: both ends compare the name alone"
    return Sort("is sent as a name, without the '@'", hint)


def _of_name(identity: str) -> Sort | None:
    if is_masked(identity):
        hint = "write the address: documents and consoles show it so where they hide it"
        return Sort("is an address with masked numbers, and is sent as a name", hint)
    if _NUMBERS.fullmatch(identity) and not _is_ipv4(identity):
        hint = "write all four numbers of the address, without leading zeros"
        return Sort("looks like an address and is none: it is sent as a name", hint)
    if any(character.isspace() for character in identity):
        return Sort("is sent as a name with white space in it, which the cloud's form does not take", _PLAIN)
    return None


def _is_ipv4(text: str) -> bool:
    try:
        return bool(IPv4Address(text))
    except ValueError:
        return False


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False


_QUOTED: Final = re.compile(rb"\"..*\"|'..*'")
_HEXADECIMAL: Final = re.compile(rb"0[xX][0-9a-fA-F]+")
_BASE64: Final = re.compile(rb"0[sS](?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_HIDDEN: Final = re.compile(rb"\*{4,}")


def key_notation(psk: Secret) -> Iterator[Finding]:
    """Yield what is said of a pre-shared key, about no subject; nothing of the key is in it."""
    key = psk.reveal()
    literal = "every character of the key's file is part of the key, as it is in the cloud's form"
    if _QUOTED.fullmatch(key):
        text = "the pre-shared key is in quotes, which are part of it"
        yield _warning(
            "KeyNotation", "", text, f"leave them out if they are not part of the cloud's: {literal}"
        )
    for pattern, begins in ((_HEXADECIMAL, "0x"), (_BASE64, "0s")):
        if pattern.fullmatch(key):
            text = f"the pre-shared key begins with {begins}, as swanctl.conf and ipsec.secrets write bytes: "
            yield _warning("KeyNotation", "", f"{text}here it is taken as it stands", literal)
    if _HIDDEN.search(key):
        text = (
            "the pre-shared key has asterisks in a row, as documents and consoles show a key that they hide"
        )
        yield _warning("KeyNotation", "", text, "put the key itself into the file")
    if len(key) > LONGEST_KEY:
        text = (
            f"the pre-shared key is longer than {LONGEST_KEY} characters, which is all that the cloud takes"
        )
        yield _warning("KeyNotation", "", text, "see whether something else was copied along with it")


def _warning(code: str, subject: str, text: str, hint: str) -> Finding:
    return Finding(code=code, subject=subject, severity=Severity.WARNING, text=text, hint=hint)
