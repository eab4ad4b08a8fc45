import contextlib
import json
import pathlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ipsec.connections import PSK, make_connection, make_esp, make_ike
from vici.protocol import FiniteStream, Message, Packet

from vpnagent.config.values import CertificateFiles, UdpEncapsulation
from vpnagent.ipsec import messages
from vpnagent.ipsec.actions import CharonConnection, Credentials
from vpnagent.ipsec.messages import ViciSection, flag, hexadecimal, number, sections, subsection, text, texts
from vpnagent.ipsec.sa import (
    CharonAlert,
    ChildState,
    ChildUpDown,
    IkeSa,
    IkeState,
    IkeUpDown,
    LogLine,
    Rekeyed,
)
from vpnagent.secret import Secret

SEGMENTS = json.loads((pathlib.Path(__file__).parent.parent / "data/vici/segments.json").read_text())
NAME = "vpnagent.hangzhou.primary"
KEY = b"a key of this process"


def recorded(label: str) -> list[tuple[str, ViciSection]]:
    """Return the recorded packets of that label: the event's name, or nothing, and the message."""
    packets = [Packet.parse(bytes.fromhex(s["segment"])) for s in SEGMENTS if s["of"] == label]
    return [
        (
            p.event_type.decode() if isinstance(p, Packet.ParsedEventPacket) else "",
            Message.deserialize(p.payload),
        )
        for p in packets
    ]


def recorded_sas(label: str) -> list[IkeSa]:
    return [sa for name, message in recorded(label) if name for sa in messages.ike_sas(message)]


def conn(connection: CharonConnection, credentials: Credentials | None = None) -> dict[str, object]:
    (loaded,) = messages.load_conn(connection, credentials).values()
    assert isinstance(loaded, dict)
    return loaded


def child(connection: CharonConnection) -> dict[str, object]:
    children = conn(connection)["children"]
    assert isinstance(children, dict)
    first = next(iter(children.values()))
    assert isinstance(first, dict)
    return first


@pytest.mark.parametrize(
    ("changes", "proposal"),
    [
        ({}, "aes128-sha1-modp1024"),
        ({"encryption": "3des", "integrity": "md5", "dh_group": 1}, "3des-md5-modp768"),
        ({"encryption": "aes256", "integrity": "sha384", "dh_group": 20}, "aes256-sha384-ecp384"),
        ({"encryption": "aes256gcm16", "integrity": "sha256"}, "aes256gcm16-prfsha256-modp1024"),
        ({"dh_group": 31}, "aes128-sha1-curve25519"),
    ],
)  # fmt: skip
def test_an_ike_proposal_is_one_of_each(changes: dict[str, object], proposal: str) -> None:
    assert conn(make_connection(ike=make_ike(**changes)))["proposals"] == [proposal]


@pytest.mark.parametrize(
    ("changes", "proposal"),
    [
        ({}, "aes128-sha1-modp1024"),
        ({"pfs_group": None}, "aes128-sha1"),
        ({"encryption": "aes256gcm16", "pfs_group": 14}, "aes256gcm16-modp2048"),
        ({"encryption": "aes256gcm16", "pfs_group": None}, "aes256gcm16"),
    ],
)
def test_an_esp_proposal_has_a_group_with_pfs_only(changes: dict[str, object], proposal: str) -> None:
    assert child(make_connection(esp=make_esp(**changes)))["esp_proposals"] == [proposal]


def test_the_whole_message_of_a_usual_connection() -> None:
    assert conn(make_connection()) == {
        "version": "2",
        "aggressive": "no",
        "local_addrs": ["192.0.2.2"],
        "remote_addrs": ["203.0.113.1"],
        "proposals": ["aes128-sha1-modp1024"],
        "encap": "yes",
        "mobike": "no",
        "dpd_delay": "10s",
        "rekey_time": "84600s",
        "over_time": "1800s",
        "rand_time": "1800s",
        "keyingtries": "0",
        "unique": "never",
        "local": {"id": "198.51.100.10", "auth": "psk"},
        "remote": {"id": "203.0.113.1", "auth": "psk"},
        "children": {
            "primary": {
                "mode": "tunnel",
                "local_ts": ["0.0.0.0/0"],
                "remote_ts": ["0.0.0.0/0"],
                "esp_proposals": ["aes128-sha1-modp1024"],
                "rekey_time": "85500s",
                "life_time": "86400s",
                "rand_time": "900s",
                "start_action": "none",
                "close_action": "none",
                "dpd_action": "clear",
                "replay_window": "2048",
                "if_id_in": "1",
                "if_id_out": "1",
            }
        },
    }


def seconds(value: object) -> int:
    assert isinstance(value, str)
    return int(value.removesuffix("s"))


@given(st.floats(min_value=10, max_value=86400))
def test_everything_is_rekeyed_before_the_clouds_hard_limit(lifetime: float) -> None:
    connection = make_connection(ike=make_ike(lifetime=lifetime), esp=make_esp(lifetime=lifetime))
    ike, esp = conn(connection), child(connection)
    assert seconds(ike["rekey_time"]) + seconds(ike["over_time"]) <= lifetime + 1
    assert seconds(ike["rekey_time"]) - seconds(ike["rand_time"]) > 0
    assert seconds(esp["life_time"]) <= lifetime + 1
    assert 0 < seconds(esp["rekey_time"]) - seconds(esp["rand_time"]) < seconds(esp["life_time"])


def test_without_dpd_charon_never_asks() -> None:
    assert conn(make_connection(ike=make_ike(dpd=False)))["dpd_delay"] == "0s"


@pytest.mark.parametrize(
    ("wanted", "encap"),
    [(UdpEncapsulation.ALWAYS, "yes"), (UdpEncapsulation.AUTO, "no"), (UdpEncapsulation.NEVER, "no")],
)
def test_only_always_forces_udp(wanted: UdpEncapsulation, encap: str) -> None:
    assert conn(make_connection(udp_encapsulation=wanted))["encap"] == encap


def test_without_if_id_none_is_told() -> None:
    assert not {"if_id_in", "if_id_out"} & child(make_connection(if_id=0)).keys()


def test_ikev2_carries_all_selectors_in_one_child() -> None:
    many = make_connection(
        local_ts=("10.1.0.0/16", "10.2.0.0/16"), remote_ts=("100.64.0.0/10", "172.16.0.0/16")
    )
    assert messages.child_names(many) == ("primary",)
    assert child(many)["remote_ts"] == ["100.64.0.0/10", "172.16.0.0/16"]


def test_ikev1_has_a_child_for_each_pair_of_selectors() -> None:
    many = make_connection(
        ike=make_ike(version=1),
        local_ts=("10.1.0.0/16", "10.2.0.0/16"),
        remote_ts=("100.64.0.0/10", "172.16.0.0/16"),
    )
    children = conn(many)["children"]
    assert isinstance(children, dict)
    assert tuple(children) == messages.child_names(many)
    assert messages.child_names(many) == ("primary", "primary.2", "primary.3", "primary.4")
    pairs = [(c["local_ts"], c["remote_ts"]) for c in children.values()]
    assert all(len(local) == len(remote) == 1 for local, remote in pairs)
    assert len({str(pair) for pair in pairs}) == 4


def test_a_secret_is_keyed_by_the_clouds_identity_alone() -> None:
    """Two tunnels share our identity: with it as an owner, either key would open both."""
    assert messages.load_shared(make_connection()) == {
        "id": NAME,
        "type": "IKE",
        "data": PSK,
        "owners": ["203.0.113.1"],
    }


def test_of_several_keys_of_one_peer_each_is_owned_by_the_pair() -> None:
    pair = make_connection(psk_by_pair=True)
    assert messages.load_shared(pair)["owners"] == ["203.0.113.1", "198.51.100.10"]
    assert messages.digest(pair, key=b"k") == messages.digest(make_connection(), key=b"k")


def test_a_connection_without_a_key_has_no_secret_to_load() -> None:
    with pytest.raises(ValueError, match="no pre-shared key"):
        messages.load_shared(make_connection(psk=None))


def test_certificates_are_told_by_content() -> None:
    held = Credentials(certificate=b"cert", private_key=Secret(b"key"), ca=b"ca")
    message = conn(make_connection(psk=None), held)
    assert message["local"] == {"id": "198.51.100.10", "auth": "pubkey", "certs": [b"cert"]}
    assert message["remote"] == {"id": "203.0.113.1", "auth": "pubkey", "cacerts": [b"ca"]}
    assert messages.load_key(held) == {"type": "any", "data": b"key"}


CHANGED = [
    make_connection(remote_address="203.0.113.9"),
    make_connection(if_id=2),
    make_connection(psk=Secret(b"another")),
    make_connection(psk=None),
    make_connection(psk=None, certificates=CertificateFiles(certificate="/c", private_key="/k", ca="/a")),
    make_connection(
        psk=None,
        certificates=CertificateFiles(certificate="/c", private_key="/k", ca="/a", revision="renewed"),
    ),
    make_connection(ike=make_ike(dh_group=14)),
    make_connection(esp=make_esp(pfs_group=None)),
    make_connection(remote_ts=("100.64.0.0/10",)),
]


def test_a_digest_changes_with_whatever_charon_is_told() -> None:
    digests = {messages.digest(c, key=KEY) for c in (make_connection(), *CHANGED)}
    assert len(digests) == 1 + len(CHANGED)


def test_a_digest_is_the_same_for_the_same() -> None:
    assert messages.digest(make_connection(), key=KEY) == messages.digest(make_connection(), key=KEY)


def test_a_digest_says_nothing_without_its_key() -> None:
    assert messages.digest(make_connection(), key=KEY) != messages.digest(make_connection(), key=b"another")


@pytest.mark.parametrize("connection", [make_connection(), *CHANGED])
def test_no_message_but_load_shared_reveals_the_key(connection: CharonConnection) -> None:
    assert PSK not in Message.serialize(messages.load_conn(connection))
    assert PSK.decode() not in repr(connection)


def test_the_answers_about_charon_itself() -> None:
    ((_, version),) = recorded("version")
    ((_, algorithms),) = recorded("get-algorithms")
    ((_, conns),) = recorded("get-conns")
    ((_, keys),) = recorded("get-shared")
    assert messages.version(version) == "5.9.8"
    assert "AES_CBC" in messages.algorithms(algorithms)["encryption"]
    assert "MODP_1024" in messages.algorithms(algorithms)["dh"]
    assert messages.names(conns, "conns") == messages.names(keys, "keys") == {NAME}


def test_an_ike_sa_that_gets_no_answer() -> None:
    (sa,) = recorded_sas("connecting")
    assert (sa.connection, sa.state, sa.initiator, sa.children) == (NAME, IkeState.CONNECTING, True, ())
    assert sa.connecting
    assert sa.negotiating_child


def test_an_established_ike_sa() -> None:
    (sa,) = recorded_sas("established")
    assert (sa.state, sa.connecting, sa.negotiating_child) == (IkeState.ESTABLISHED, False, False)
    (carrying,) = sa.carrying_children
    assert (carrying.name, carrying.state, carrying.encapsulated) == ("primary", ChildState.INSTALLED, True)
    assert (carrying.local_ts, carrying.remote_ts) == (("10.78.1.1/32",), ("10.78.2.1/32",))


def test_a_rekeyed_child_leaves_one_that_carries() -> None:
    (sa,) = recorded_sas("child rekeyed")
    assert len(sa.children) == 2
    (carrying,) = sa.carrying_children
    assert carrying.unique_id == max(child.unique_id for child in sa.children)


def test_a_deleted_ike_sa_carries_nothing_although_its_child_is_installed() -> None:
    (sa,) = recorded_sas("deleting, unanswered")
    assert ChildState.INSTALLED in [child.state for child in sa.children]
    assert sa.deleting
    assert sa.carrying_children == ()


def test_the_life_of_a_tunnel_in_events() -> None:
    told = [event for name, message in recorded("events") for event in messages.events(name, message)]
    assert told == [
        IkeUpDown(connection=NAME, ike_sa="1", up=True),
        ChildUpDown(connection=NAME, child="primary", child_sa="1", up=True),
        Rekeyed(connection=NAME, child="primary", new="2"),
        Rekeyed(connection=NAME, child=None, new="2"),
        IkeUpDown(connection=NAME, ike_sa="2", up=False),
        ChildUpDown(connection=NAME, child="primary", child_sa="2", up=False),
    ]


def test_a_line_of_an_ike_sa_without_a_name_has_no_connection() -> None:
    said = {"msg": b"no proposal found", "ikesa-name": b"(unnamed)", "ikesa-uniqueid": b"7"}
    assert messages.events("log", said) == (LogLine(connection=None, ike_sa="7", text="no proposal found"),)


def test_an_alert_names_its_connection() -> None:
    """In the form of charon 6.0.3's documentation: 5.9.8 has none to record."""
    alert = {"type": b"retransmit-send", "ike-sa": {NAME: {"uniqueid": b"1"}}}
    assert messages.events("alert", alert) == (CharonAlert(connection=NAME, type="retransmit-send"),)


def test_an_unknown_event_says_nothing() -> None:
    assert messages.events("list-policy", {"x": b"y"}) == ()


KEYS = st.sampled_from(["uniqueid", "state", "child-sas", "new", "name", "up", "msg", "x"])
values = st.recursive(
    st.binary(max_size=20) | st.lists(st.binary(max_size=8), max_size=3),
    lambda inner: st.dictionaries(
        st.sampled_from(["uniqueid", "state", "child-sas", "new", "name", "up", "msg", "x"]),
        inner,
        max_size=4,
    ),
    max_leaves=8,
)
EVENTS = ["ike-updown", "child-updown", "ike-rekey", "child-rekey", "log", "alert", "list-sa"]


@given(st.sampled_from(EVENTS), st.dictionaries(st.sampled_from([NAME, "up", "ike-sa", "msg"]), values))
def test_a_strange_message_is_a_value_error_or_is_read(name: str, message: dict[str, object]) -> None:
    with contextlib.suppress(ValueError):
        messages.ike_sas(message) if name == "list-sa" else messages.events(name, message)


names = st.text(min_size=1, max_size=20)
vici_sections = st.recursive(
    st.dictionaries(names, st.binary(max_size=50) | st.lists(st.binary(max_size=9), max_size=4), max_size=4),
    lambda inner: st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(vici_sections)
def test_the_codec_returns_what_it_was_given(message: dict[str, object]) -> None:
    assert Message.deserialize(FiniteStream(Message.serialize(message))) == message


def test_replacing_the_tunnel_replaces_every_name() -> None:
    other = replace(make_connection(), key=make_connection("backup").key)
    assert list(messages.load_conn(other)) == ["vpnagent.hangzhou.backup"]
    assert messages.child_names(other) == ("backup",)


SECTION: ViciSection = {
    "name": b"t",
    "bytes": b"12",
    "if-id": b"0000002a",
    "encap": b"yes",
    "ts": [b"a", b"b"],
    "in": {},
}


def test_values_are_read_as_what_they_are() -> None:
    assert text(SECTION, "name") == "t"
    assert number(SECTION, "bytes") == 12
    assert hexadecimal(SECTION, "if-id") == 42
    assert flag(SECTION, "encap")
    assert texts(SECTION, "ts") == ("a", "b")
    assert dict(sections(SECTION)) == {"in": {}}
    assert subsection(SECTION, "in") == {}


def test_what_charon_leaves_out_has_a_default() -> None:
    assert (text({}, "x", "-"), number({}, "x", 7), hexadecimal({}, "x"), flag({}, "x")) == ("-", 7, 0, False)
    assert (texts({}, "x"), subsection({}, "x")) == ((), {})


@pytest.mark.parametrize("read", [text, number])
@given(value=st.one_of(st.none(), st.just([b"1"]), st.just({"a": b"1"})))
def test_what_must_be_told_and_is_not_a_value_is_an_error(read: object, value: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="missing or not a value"):
        read({"x": value}, "x")


@pytest.mark.parametrize("read", [texts, subsection])
def test_a_value_in_place_of_a_list_or_a_section_is_an_error(read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="is not a"):
        read({"x": b"1"}, "x")
