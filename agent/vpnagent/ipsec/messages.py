"""Our values to and from VICI messages: the only module that knows VICI's key names.

Keys and defaults: strongSwan src/libcharon/plugins/vici/README.md and src/swanctl/swanctl.opt (5.9.8).
Each proposal is exactly one: the cloud accepts no second.
"""

import hashlib
import hmac
import itertools
import json
from collections.abc import Collection, Iterator, Mapping

from vpnagent.config.values import Esp, Ike, UdpEncapsulation
from vpnagent.ipsec.actions import CharonConnection, Credentials
from vpnagent.ipsec.algorithms import DH_GROUPS, aead, keyword
from vpnagent.ipsec.sa import (
    CharonAlert,
    ChildSa,
    ChildState,
    ChildUpDown,
    IkeSa,
    IkeState,
    IkeUpDown,
    LogLine,
    Rekeyed,
    Selectors,
)

# A decoded VICI message: sections of sections, lists and values, all of them bytes as they came.
# Reading is strict where charon always tells a key and lenient where it may leave one out, and whatever
# another program sends instead is a ``ValueError``, never another error.

ViciSection = Mapping[str, object]


def text(section: ViciSection, key: str, default: str | None = None) -> str:
    """Return a value as text; without a default its absence is an error."""
    value = section.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, bytes):
        raise ValueError(f"{key} is missing or not a value")  # noqa: TRY004 - one error for bad input
    return value.decode("utf-8", "replace")


def number(section: ViciSection, key: str, default: int | None = None) -> int:
    """Return a value that charon writes in decimal."""
    return int(text(section, key, None if default is None else str(default)))


def hexadecimal(section: ViciSection, key: str) -> int:
    """Return a value that charon writes in hexadecimal and leaves out when it is zero."""
    return int(text(section, key, "0"), 16)


def flag(section: ViciSection, key: str) -> bool:
    """Return whether a flag is told; charon leaves false ones out."""
    return text(section, key, "no") == "yes"


def texts(section: ViciSection, key: str) -> tuple[str, ...]:
    """Return a list of values; empty where charon tells none."""
    values = section.get(key, [])
    if not isinstance(values, list):
        raise ValueError(f"{key} is not a list")  # noqa: TRY004 - one error for bad input
    return tuple(bytes(value).decode("utf-8", "replace") for value in values)


def sections(section: ViciSection) -> Iterator[tuple[str, ViciSection]]:
    """Yield the sections directly inside this one, by name."""
    for name, value in section.items():
        if isinstance(value, Mapping):
            yield name, value


def subsection(section: ViciSection, key: str) -> ViciSection:
    """Return the section of that name; empty where charon tells none."""
    value = section.get(key, {})
    if not isinstance(value, Mapping):
        raise ValueError(f"{key} is not a section")  # noqa: TRY004 - one error for bad input
    return value


IKE_MARGIN = 1800.0  #: seconds between IKE rekeying and the cloud's hard limit; its own sample's
CHILD_MARGIN = 900.0  #: seconds between CHILD_SA rekeying and the cloud's hard limit; its own sample's
SMALLEST_MARGIN_RATIO = 0.1  #: of a lifetime too short for the margins above

#: Packets. The purchased maximum is 120,000/s: this window forgives 17 ms of reordering, where charon's
#: default of 32 forgives 0.3 ms and lets QoS on the way, which delays some DSCPs, look like replays
#: (RFC 4301 §4.1). It costs 256 bytes per SA.
REPLAY_WINDOW = 2048

#: INITIAL_CONTACT and a second IKE_SA delete nothing; ``plan`` removes duplicates. Of two 5.9.8 that
#: initiate at once, about half the attempts leave duplicates whatever the value, and with ``no``,
#: ``replace`` and ``keep`` some leave an SA at one end only, into which the other may send for minutes.
UNIQUE = "never"

#: A tunnel that moves between two gateways: who takes it over tells the peer to drop what it has of the one
#: that died (INITIAL_CONTACT, RFC 7296 §2.4), and takes such a word itself.
UNIQUE_AFTER_TAKEOVER = "no"

CHILD_TASKS = frozenset({"CHILD_CREATE", "QUICK_MODE"})  #: charon's tasks that negotiate a first CHILD_SA

NOTHING_TO_TERMINATE = "no matching SAs to terminate found"  #: the errmsg of terminate


def ike_proposal(ike: Ike) -> str:
    """Return the IKE proposal; with an AEAD cipher, ``integrity`` names the PRF."""
    integrity = f"prf{ike.integrity}" if aead(ike.encryption) else ike.integrity
    return f"{keyword(ike.encryption)}-{integrity}-{DH_GROUPS[ike.dh_group].keyword}"


def esp_proposal(esp: Esp) -> str:
    """Return the ESP proposal; a DH group in it means PFS."""
    parts = [keyword(esp.encryption)]
    if not aead(esp.encryption):
        parts.append(esp.integrity)
    if esp.pfs_group is not None:
        parts.append(DH_GROUPS[esp.pfs_group].keyword)
    return "-".join(parts)


def child_names(connection: CharonConnection) -> tuple[str, ...]:
    """Return the names of the connection's children, as CHILD_SAs will bear them."""
    return tuple(_selectors(connection))


def missing_children(connection: CharonConnection, carried: Collection[str]) -> Selectors:
    """Return the selectors of those of several children that none of these names is of."""
    children = _selectors(connection)
    if len(children) == 1:
        return ()
    return tuple((tuple(here), tuple(there)) for n, (here, there) in children.items() if n not in carried)


def load_conn(connection: CharonConnection, credentials: Credentials | None = None) -> dict[str, object]:
    """Return the load-conn message. With certificates, ``credentials`` are what they hold."""
    return {
        connection.name: {
            "version": str(connection.ike.version),
            "aggressive": _yes(connection.ike.mode == "aggressive"),
            "local_addrs": [connection.local_address],
            "remote_addrs": [connection.remote_address],
            "proposals": [ike_proposal(connection.ike)],
            # charon cannot refuse UDP encapsulation when it finds a NAT: never is auto to it.
            "encap": _yes(connection.udp_encapsulation is UdpEncapsulation.ALWAYS),
            # Addresses are configuration, and a tunnel that moves by itself is on no uplink of ours.
            "mobike": "no",
            "dpd_delay": _seconds(connection.ike.dpd_delay if connection.ike.dpd else 0),
            **_ike_lifetimes(connection.ike),
            # Attempts are ours to end; should we die meanwhile, charon goes on by itself.
            "keyingtries": "0",
            "unique": UNIQUE_AFTER_TAKEOVER if connection.initial_contact else UNIQUE,
            "local": {"id": connection.local_id, **_authentication("certs", credentials)},
            "remote": {"id": connection.remote_id, **_authentication("cacerts", credentials)},
            "children": _children(connection),
        }
    }


def load_shared(connection: CharonConnection) -> dict[str, object]:
    """Return the load-shared message: the only place where the pre-shared key is revealed.

    Owned by the cloud's identity alone. charon prefers the key of the peer's identity, but as responder
    it tries every key that is owned by either end: were ours an owner, the key of one tunnel would open
    all that share our identity. Only where the cloud's identity has several keys, one for each identity of
    ours (two lines to one address), are both owners: the key that matches both ends best is taken.
    """
    if connection.psk is None:
        raise ValueError(f"{connection.name} has no pre-shared key")
    return {
        "id": connection.name,
        "type": "IKE",
        "data": connection.psk.reveal(),
        "owners": [connection.remote_id, *([connection.local_id] if connection.psk_by_pair else [])],
    }


def load_key(credentials: Credentials) -> dict[str, object]:
    """Return the load-key message: the only place where the private key is revealed."""
    return {"type": "any", "data": credentials.private_key.reveal()}


def digest(connection: CharonConnection, *, key: bytes) -> str:
    """Return a keyed digest of all that charon is told, the pre-shared key included, but not its owners.

    Of certificates the paths, and the revision that they had when the configuration was read.
    """
    message: dict[str, object] = {"conn": load_conn(connection), "files": str(connection.certificates)}
    if connection.psk is not None:
        message["psk"] = connection.psk.digest(key=key)
    canonical = json.dumps(message, sort_keys=True).encode()
    return hmac.new(key, canonical, hashlib.sha256).hexdigest()


def initiate(connection: str, child: str) -> dict[str, object]:
    """Return the initiate message that does not wait for the outcome."""
    return {"ike": connection, "child": child, "timeout": "-1", "init-limits": "no"}


def terminate(ike_sa: str, *, force: bool) -> dict[str, object]:
    """Return the terminate message that does not wait; ``force`` sends one DELETE and forgets."""
    return {"ike-id": ike_sa, "force": _yes(force), "timeout": "-1"}


def terminate_child(child_sa: str) -> dict[str, object]:
    """Return the message that deletes one CHILD_SA, and does not wait."""
    return {"child-id": child_sa, "timeout": "-1"}


def ike_sas(event: ViciSection) -> tuple[IkeSa, ...]:
    """Return the IKE_SAs of a list-sa event; ValueError when it is not one."""
    return tuple(_ike_sa(name, sa) for name, sa in sections(event))


def names(answer: ViciSection, key: str) -> frozenset[str]:
    """Return the names in the answer of get-conns (``conns``) or get-shared (``keys``)."""
    return frozenset(texts(answer, key))


def version(answer: ViciSection) -> str:
    """Return charon's version from the answer of version."""
    return text(answer, "version")


def algorithms(answer: ViciSection) -> Mapping[str, frozenset[str]]:
    """Return charon's registered algorithms by kind, in its own spelling, from get-algorithms.

    The kind ``dh`` is what 6.0 calls ``ke``: key exchange methods, with those that are not Diffie-Hellman.
    """
    return {"dh" if kind == "ke" else kind: frozenset(of_kind) for kind, of_kind in sections(answer)}


CharonEvent = IkeUpDown | ChildUpDown | Rekeyed | CharonAlert | LogLine


def events(name: str, event: ViciSection) -> tuple[CharonEvent, ...]:
    """Return what an event says; nothing for an event that is not known."""
    match name:
        case "ike-updown":
            up = flag(event, "up")
            return tuple(
                IkeUpDown(connection=connection, ike_sa=text(sa, "uniqueid"), up=up)
                for connection, sa in sections(event)
            )
        case "child-updown":
            return tuple(_child_updowns(event))
        case "ike-rekey":
            return tuple(
                Rekeyed(connection=connection, child=None, new=text(subsection(sa, "new"), "uniqueid"))
                for connection, sa in sections(event)
            )
        case "child-rekey":
            return tuple(_child_rekeys(event))
        case "alert":
            type_ = text(event, "type")
            return tuple(
                CharonAlert(connection=connection, type=type_)
                for connection, _ in sections(subsection(event, "ike-sa"))
            )
        case "log":
            return (_log_line(event),)
        case _:
            return ()


def _log_line(event: ViciSection) -> LogLine:
    """An IKE_SA that matches no connection yet has no name."""
    name = text(event, "ikesa-name", "")
    return LogLine(
        connection=name if name not in ("", "(unnamed)") else None,
        ike_sa=text(event, "ikesa-uniqueid", "") or None,
        text=text(event, "msg"),
    )


def _child_updowns(event: ViciSection) -> Iterator[ChildUpDown]:
    up = flag(event, "up")
    for connection, ike_sa in sections(event):
        for _, child in sections(subsection(ike_sa, "child-sas")):
            yield ChildUpDown(
                connection=connection, child=text(child, "name"), child_sa=text(child, "uniqueid"), up=up
            )


def _child_rekeys(event: ViciSection) -> Iterator[Rekeyed]:
    for connection, ike_sa in sections(event):
        for _, child in sections(subsection(ike_sa, "child-sas")):
            new = subsection(child, "new")
            yield Rekeyed(connection=connection, child=text(new, "name"), new=text(new, "uniqueid"))


def _authentication(key: str, credentials: Credentials | None) -> dict[str, object]:
    if credentials is None:
        return {"auth": "psk"}
    return {"auth": "pubkey", key: [credentials.certificate if key == "certs" else credentials.ca]}


def _children(connection: CharonConnection) -> dict[str, object]:
    return {name: _child(connection, *selectors) for name, selectors in _selectors(connection).items()}


def _child(connection: CharonConnection, local_ts: list[str], remote_ts: list[str]) -> dict[str, object]:
    esp = connection.esp
    child: dict[str, object] = {
        "mode": "tunnel",
        "local_ts": local_ts,
        "remote_ts": remote_ts,
        "esp_proposals": [esp_proposal(esp)],
        "rekey_time": _seconds(esp.lifetime - _margin(esp.lifetime, CHILD_MARGIN)),
        "life_time": _seconds(esp.lifetime),
        # Two tunnels that came up together must not rekey together, nor both ends at once.
        "rand_time": _seconds(_margin(esp.lifetime, CHILD_MARGIN)),
        # We initiate by ourselves; and a changed load-conn with "start" would tear SAs down.
        "start_action": "none",
        "close_action": "none",
        "dpd_action": "clear",
        "replay_window": str(REPLAY_WINDOW),
    }
    if connection.if_id:
        child |= {"if_id_in": str(connection.if_id), "if_id_out": str(connection.if_id)}
    return child


def _selectors(connection: CharonConnection) -> dict[str, tuple[list[str], list[str]]]:
    """Return the traffic selectors of each child.

    One CHILD_SA carries them all in IKEv2. IKEv1 negotiates one pair per CHILD_SA (RFC 2409 §5.5), of
    which the first bears the tunnel's name and the others a number more.
    """
    tunnel = connection.key.tunnel
    if connection.ike.version != 1:
        return {tunnel: (list(connection.local_ts), list(connection.remote_ts))}
    pairs = itertools.product(connection.local_ts, connection.remote_ts)
    return {
        tunnel if number == 1 else f"{tunnel}.{number}": ([local], [remote])
        for number, (local, remote) in enumerate(pairs, start=1)
    }


def _ike_lifetimes(ike: Ike) -> dict[str, object]:
    margin = _margin(ike.lifetime, IKE_MARGIN)
    return {
        "rekey_time": _seconds(ike.lifetime - margin),
        "over_time": _seconds(margin),
        "rand_time": _seconds(margin),
    }


def _margin(lifetime: float, wanted: float) -> float:
    return min(wanted, lifetime * SMALLEST_MARGIN_RATIO)


def _seconds(duration: float) -> str:
    """VICI takes whole seconds; what is wanted at all is at least one."""
    return f"{max(1, round(duration)) if duration > 0 else 0}s"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _ike_sa(name: str, sa: ViciSection) -> IkeSa:
    return IkeSa(
        connection=name,
        unique_id=text(sa, "uniqueid"),
        remote_host=text(sa, "remote-host"),
        state=IkeState(text(sa, "state")),
        version=number(sa, "version"),
        initiator=flag(sa, "initiator"),
        established_for=float(number(sa, "established", 0)),
        children=tuple(_child_sa(child) for _, child in sections(subsection(sa, "child-sas"))),
        negotiating_child=not CHILD_TASKS.isdisjoint(texts(sa, "tasks-active") + texts(sa, "tasks-queued")),
    )


def _child_sa(child: ViciSection) -> ChildSa:
    """Everything past the state is told of installed CHILD_SAs only."""
    return ChildSa(
        name=text(child, "name"),
        unique_id=text(child, "uniqueid"),
        state=ChildState(text(child, "state")),
        if_id=hexadecimal(child, "if-id-in"),
        bytes_in=number(child, "bytes-in", 0),
        bytes_out=number(child, "bytes-out", 0),
        packets_in=number(child, "packets-in", 0),
        packets_out=number(child, "packets-out", 0),
        installed_for=float(number(child, "install-time", 0)),
        encapsulated=flag(child, "encap"),
        local_ts=texts(child, "local-ts"),
        remote_ts=texts(child, "remote-ts"),
    )
