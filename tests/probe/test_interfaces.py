from vpnagent.probe.interfaces import Interfaces
from vpnagent.probe.netlink_message import Address, Link

ETH0 = Link(2, "eth0", up=True, gone=False)
ADDRESS = bytes([192, 0, 2, 2])


def test_an_interface_is_usable_while_it_is_up() -> None:
    interfaces = Interfaces([ETH0])
    assert interfaces.usable("eth0")
    interfaces.take([Link(2, "eth0", up=False, gone=False)])
    assert not interfaces.usable("eth0")


def test_one_that_is_gone_has_no_index_and_is_not_usable() -> None:
    interfaces = Interfaces([ETH0, Link(2, "eth0", up=False, gone=True)])
    assert interfaces.index("eth0") is None
    assert not interfaces.usable("eth0")


def test_one_made_anew_has_its_new_index() -> None:
    interfaces = Interfaces(
        [ETH0, Link(2, "eth0", up=False, gone=True), Link(9, "eth0", up=True, gone=False)]
    )
    assert interfaces.index("eth0") == 9


def test_the_old_name_of_a_renamed_one_is_gone() -> None:
    interfaces = Interfaces([ETH0, Link(2, "wan", up=True, gone=False)])
    assert interfaces.index("eth0") is None
    assert interfaces.index("wan") == 2


def test_a_name_taken_over_by_another_interface_is_that_one() -> None:
    interfaces = Interfaces([ETH0, Link(2, "old", up=True, gone=False), Link(3, "eth0", up=True, gone=False)])
    assert (interfaces.index("old"), interfaces.index("eth0")) == (2, 3)


def test_losing_the_address_is_losing_the_interface_and_it_comes_back() -> None:
    interfaces = Interfaces([ETH0, Address(2, ADDRESS, gone=False)])
    assert interfaces.usable("eth0", ADDRESS)
    interfaces.take([Address(2, ADDRESS, gone=True)])
    assert not interfaces.usable("eth0", ADDRESS)
    assert interfaces.usable("eth0")
    interfaces.take([Address(2, ADDRESS, gone=False)])
    assert interfaces.usable("eth0", ADDRESS)


def test_an_address_that_was_never_there_is_not_required() -> None:
    assert Interfaces([ETH0]).usable("eth0", ADDRESS)
