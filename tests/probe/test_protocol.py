import contextlib
import json
import struct
from dataclasses import replace
from ipaddress import IPv4Address
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.native.prober_process import KEYS, configure, tunnel_intent

from vpnagent.config.values import Forwarding, OnPathDown, TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.policy.selection import PathState
from vpnagent.probe.actions import Cause, FirstReply, PathChanged, PathReport
from vpnagent.probe.intent import (
    Configure,
    ConnectionIntent,
    GroupIntent,
    Intent,
    IntentUpdate,
    ViciRequests,
    change_between,
    flags_of,
    outer_name,
    with_addresses,
    with_flags,
)
from vpnagent.probe.protocol import (
    FRAGMENT,
    KINDS,
    MAXIMUM,
    VERSION,
    Accepted,
    Assembler,
    FailedOver,
    GroupReport,
    Hello,
    Message,
    ProberReport,
    ProtocolError,
    Quit,
    Refused,
    TunnelMeter,
    datagrams,
)

PATH = PathReport(
    tunnel=KEYS[0],
    state=PathState.HOLD_DOWN,
    cause=Cause.RECOVERED,
    reason="heard again",
    rtt=None,
    loss_ratio=0.25,
    target=IPv4Address("100.100.2.136"),
    sent=10,
    answered=9,
    lost=1,
    held=False,
    trial=False,
    failed_trials=None,
    waiting_for_peer=True,
)
FINDING = Finding(code="c", subject="s", severity=Severity.WARNING, text="täxt", hint="")
REPORT = ProberReport(
    at=1.5,
    generation=3,
    paths=(PATH,),
    selected=(("hangzhou", ("primary",)),),
    groups=(GroupReport(id=900, members=((101, 1),), error=""),),
    findings=(FINDING,),
    rtt=(TunnelMeter(tunnel=KEYS[0], counts=(1, 2), total=0.5),),
    lateness=(1, 2, 3),
    lateness_total=0.1,
    overflows=0,
    send_errors=0,
    groups_repaired=0,
    events_lost=0,
)
REQUESTS = ViciRequests(
    tunnel=KEYS[0], terminate=(b"\x00\xff",), initiate=(b"a", b"b"), initiate_encapsulated=()
)
FAILED_OVER = FailedOver(
    connection="hangzhou",
    old=("primary",),
    new=(),
    cause=Cause.SILENT,
    tunnel=None,
    reason="",
    last_heard=None,
    decided=2.0,
    netlink_sent=2.0001,
    netlink_acknowledged=None,
    suppressed=0,
)
PATH_CHANGED = PathChanged(
    tunnel=KEYS[1],
    old=PathState.UP,
    new=PathState.DOWN,
    cause=Cause.SILENT,
    reason="r",
    rtt=0.001,
    loss_ratio=0.0,
    last_heard=1.0,
    at=2.0,
)
MESSAGES: tuple[Message, ...] = (
    Hello(version=VERSION, pid=1, generation=2),
    Quit(),
    configure(vici_socket="/run/charon.vici", vici=(REQUESTS,)),
    IntentUpdate(generation=4, base=3, tunnels=(flags_of(tunnel_intent(0)),)),
    Accepted(generation=4),
    Refused(generation=4, in_force=5, reason="stale"),
    REPORT,
    PATH_CHANGED,
    FAILED_OVER,
    FirstReply(connection="hangzhou", tunnel=KEYS[0], at=2.5),
)


def received(packets: list[bytes]) -> list[Message]:
    assembler = Assembler()
    return [message for packet in packets if (message := assembler.feed(packet)) is not None]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_every_message_comes_back_as_it_was_sent(message: Message) -> None:
    assert received(datagrams(message)) == [message]


def test_every_kind_of_message_is_among_them() -> None:
    assert {type(message) for message in MESSAGES} == set(KINDS.values()) == set(get_args(Message))


def large(tunnels: int) -> Configure:
    connections = tuple(
        ConnectionIntent(
            name=f"c{n}",
            forwarding=Forwarding.ECMP,
            on_path_down=OnPathDown.RESET,
            tunnels=(tunnel_intent(0, key=TunnelKey(f"c{n}", "a"), nexthop_id=n + 1),),
        )
        for n in range(tunnels)
    )
    groups = tuple(GroupIntent(id=1000 + n, connections=(f"c{n}",)) for n in range(tunnels))
    intent = Intent(generation=1, connections=connections, groups=groups)
    vici = tuple(
        replace(REQUESTS, tunnel=c.tunnels[0].key, initiate_encapsulated=(bytes(600),)) for c in connections
    )
    return replace(configure(vici=vici), intent=intent)


def test_an_intent_of_256_tunnels_travels_in_fragments() -> None:
    packets = datagrams(large(256))
    assert len(packets) > 1
    assert sum(map(len, packets)) < MAXIMUM / 4
    assert received(packets) == [large(256)]


def test_messages_may_follow_each_other() -> None:
    packets = [packet for message in (large(64), Quit(), large(64)) for packet in datagrams(message)]
    assert received(packets) == [large(64), Quit(), large(64)]


def test_a_fragment_out_of_order_ends_the_connection() -> None:
    first, second, *_ = datagrams(large(128))
    for packets in ([second], [first, first, second, second], [first, *datagrams(Quit()), second]):
        with pytest.raises(ProtocolError):
            received(packets)


def test_more_fragments_than_a_message_may_have_are_refused() -> None:
    header = struct.pack("!4sBBHH", b"vpnp", 1, 3, 0, MAXIMUM // FRAGMENT + 1)
    with pytest.raises(ProtocolError, match="too long"):
        received([header])
    with pytest.raises(ProtocolError, match="too long"):
        received([struct.pack("!4sBBHH", b"vpnp", 1, 3, 0, 1) + bytes(FRAGMENT + 1)])


@given(st.lists(st.binary(max_size=100), max_size=5))
def test_any_datagrams_are_messages_or_a_protocol_error(packets: list[bytes]) -> None:
    with contextlib.suppress(ProtocolError):
        received(packets)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda children: st.lists(children, max_size=4)
    | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


@given(st.integers(0, 255), json_values)
def test_any_json_is_a_message_or_a_protocol_error(kind: int, value: object) -> None:
    body = json.dumps(value).encode()
    with contextlib.suppress(ProtocolError):
        received([struct.pack("!4sBBHH", b"vpnp", 1, kind, 0, 1) + body])


@settings(max_examples=300)
@given(st.sampled_from(MESSAGES), st.data())
def test_a_damaged_message_is_a_message_or_a_protocol_error(message: Message, data: st.DataObject) -> None:
    [packet] = datagrams(message)
    damaged = bytearray(packet)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ProtocolError):
        received([bytes(damaged)])


@pytest.mark.parametrize("bad", ["[" * 100_000, '{"version":1e999,"pid":1,"generation":1}', "NaN", "\ud800"])
def test_json_that_breaks_parsers_is_a_protocol_error(bad: str) -> None:
    packet = struct.pack("!4sBBHH", b"vpnp", 1, 1, 0, 1) + bad.encode("utf-8", "surrogatepass")[:FRAGMENT]
    with pytest.raises(ProtocolError):
        received([packet])


def test_a_value_out_of_range_is_a_protocol_error() -> None:
    [packet] = datagrams(configure())
    with pytest.raises(ProtocolError, match="interval"):
        received([packet.replace(b'"interval":0.1', b'"interval":0.0', 1)])


@given(st.booleans(), st.booleans(), st.booleans(), st.booleans())
def test_flags_alone_make_a_change_that_leads_to_the_new_intent(
    installed: bool, encapsulated: bool, drained: bool, second: bool
) -> None:
    flags = {"child_sa_installed": installed, "encapsulated": encapsulated, "drained": drained}
    old = configure().intent
    new = configure(second=flags).intent if second else configure(first=flags).intent
    changed = change_between(old, new)
    assert changed is not None
    assert len(changed) <= 1
    assert with_flags(old, IntentUpdate(generation=0, base=0, tunnels=changed)) == new


def test_anything_else_needs_the_whole_intent() -> None:
    assert change_between(configure().intent, configure(interval=0.2).intent) is None
    assert change_between(configure().intent, configure(first={"weight": 2, "drained": True}).intent) is None


def test_what_only_a_new_prober_reads_is_no_difference() -> None:
    new = configure(first={"failed_trials": 3}).intent
    new = replace(new, groups=tuple(replace(g, members=((101, 1),)) for g in new.groups))
    assert change_between(configure().intent, new) == ()


def test_an_outer_interface_is_known_with_the_address_that_esp_leaves_from() -> None:
    tunnel = tunnel_intent(0, outer_interface="eth0", local_address=IPv4Address("192.0.2.2"))
    assert outer_name(tunnel) == "eth0 192.0.2.2"
    assert outer_name(replace(tunnel, local_address=None)) == "eth0"
    intent = with_addresses(configure(first={"outer_interface": "eth0"}).intent)
    assert [t.outer_interface for t in intent.tunnels()] == ["eth0", None]


def test_text_that_cannot_be_written_is_a_protocol_error() -> None:
    [packet] = datagrams(configure(vici_socket="/half"))
    with pytest.raises(ProtocolError, match="surrogates"):
        received([packet.replace(b"/half", b"\\ud800", 1)])
