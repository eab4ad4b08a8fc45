import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.netlink.message import NetlinkMessage, attribute
from vpnagent.netlink.rtnetlink import IFADDRMSG, IFF_LOWER_UP, IFF_UP, IFINFOMSG
from vpnagent.probe.interfaces import Interfaces

NEWLINK, DELLINK, NEWADDR, DELADDR = 16, 17, 20, 21
UP = IFF_UP | IFF_LOWER_UP


def told(index: int, name: str, flags: int, *, kind: int = NEWLINK, family: int = 0) -> NetlinkMessage:
    body = IFINFOMSG.pack(family, 1, index, flags, 0) + attribute(3, name.encode() + b"\0")
    return NetlinkMessage(kind, 0, 0, body)


def link(index: int, name: str, *, up: bool, gone: bool) -> NetlinkMessage:
    return told(index, name, UP if up else 0, kind=DELLINK if gone else NEWLINK)


def address(index: int, octets: bytes, *, gone: bool) -> NetlinkMessage:
    body = IFADDRMSG.pack(2, 24, 0, 0, index) + attribute(2, octets)
    return NetlinkMessage(DELADDR if gone else NEWADDR, 0, 0, body)


ETH0 = link(2, "eth0", up=True, gone=False)
ADDRESS = bytes([192, 0, 2, 2])


@pytest.mark.parametrize(("flags", "up"), [(UP, True), (IFF_UP, False), (IFF_LOWER_UP, False), (0, False)])
def test_a_link_is_up_with_carrier_only(flags: int, up: bool) -> None:
    assert Interfaces([told(4, "vpn1", flags)]).usable("vpn1") is up


def test_a_link_that_is_gone_is_not_up_whatever_its_flags_say() -> None:
    interfaces = Interfaces([told(4, "vpn1", UP), told(4, "vpn1", UP, kind=DELLINK)])
    assert not interfaces.usable("vpn1")
    assert interfaces.index("vpn1") is None


def test_another_familys_view_of_a_link_is_skipped() -> None:
    interfaces = Interfaces([told(4, "br0", UP), told(4, "br0", UP, kind=DELLINK, family=7)])
    assert interfaces.usable("br0")


def test_addresses_come_and_go() -> None:
    interfaces = Interfaces([address(3, ADDRESS, gone=False)])
    assert interfaces.addresses == {(3, ADDRESS)}
    interfaces.take([address(3, ADDRESS, gone=True)])
    assert interfaces.addresses == frozenset()


@given(st.sampled_from([2, 3, 16, 17, 20, 21, 92, 104, 105]), st.binary(max_size=200))
def test_any_body_is_read_or_refused(kind: int, body: bytes) -> None:
    with contextlib.suppress(ValueError, struct.error):
        Interfaces([NetlinkMessage(kind, 0, 0, body)])


def test_an_interface_is_usable_while_it_is_up() -> None:
    interfaces = Interfaces([ETH0])
    assert interfaces.usable("eth0")
    interfaces.take([link(2, "eth0", up=False, gone=False)])
    assert not interfaces.usable("eth0")


def test_one_that_is_gone_has_no_index_and_is_not_usable() -> None:
    interfaces = Interfaces([ETH0, link(2, "eth0", up=False, gone=True)])
    assert interfaces.index("eth0") is None
    assert not interfaces.usable("eth0")


def test_one_made_anew_has_its_new_index() -> None:
    interfaces = Interfaces(
        [ETH0, link(2, "eth0", up=False, gone=True), link(9, "eth0", up=True, gone=False)]
    )
    assert interfaces.index("eth0") == 9


def test_the_old_name_of_a_renamed_one_is_gone() -> None:
    interfaces = Interfaces([ETH0, link(2, "wan", up=True, gone=False)])
    assert interfaces.index("eth0") is None
    assert interfaces.index("wan") == 2


def test_a_name_taken_over_by_another_interface_is_that_one() -> None:
    interfaces = Interfaces([ETH0, link(2, "old", up=True, gone=False), link(3, "eth0", up=True, gone=False)])
    assert (interfaces.index("old"), interfaces.index("eth0")) == (2, 3)


def test_losing_the_address_is_losing_the_interface_and_it_comes_back() -> None:
    interfaces = Interfaces([ETH0, address(2, ADDRESS, gone=False)])
    assert interfaces.usable("eth0", ADDRESS)
    interfaces.take([address(2, ADDRESS, gone=True)])
    assert not interfaces.usable("eth0", ADDRESS)
    assert interfaces.usable("eth0")
    interfaces.take([address(2, ADDRESS, gone=False)])
    assert interfaces.usable("eth0", ADDRESS)


def test_an_address_that_was_never_there_is_not_required() -> None:
    assert Interfaces([ETH0]).usable("eth0", ADDRESS)
