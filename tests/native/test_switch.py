"""The group writes of the prober against the kernel's own refusals."""

import os
import socket
from collections.abc import Iterator

import pytest
from lab.namespace import inside, ip
from tests.native.prober_process import Group
from tests.native.two_tunnels import GROUP, SHARED, TwoTunnels, two_tunnels, udp_socket

from vpnagent.netlink.rtnetlink import PROTOCOL
from vpnagent.probe.kernel import GroupWriter, KernelRequests

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, nexthops")

BOTH = ((101, 1), (102, 3))
RESILIENT = 901


@pytest.fixture(scope="module")
def world() -> Iterator[TwoTunnels]:
    with two_tunnels() as made:
        yield made


@pytest.fixture
def kernel(world: TwoTunnels) -> Iterator[KernelRequests]:
    made = inside(world.gw, KernelRequests)
    yield made
    made.close()
    for number, nexthop in enumerate((101, 102)):
        ip(f"nexthop replace id {nexthop} dev t{number}", namespace=world.gw)


@pytest.fixture
def group(world: TwoTunnels) -> Iterator[Group]:
    made = Group(world.gw)
    yield made
    made.close()


def test_a_group_is_written_and_the_times_of_it_told(kernel: KernelRequests, group: Group) -> None:
    written = GroupWriter(kernel).write(GROUP, BOTH)
    assert group() == BOTH
    assert written.error == ""
    assert written.acknowledged is not None
    assert 0 < written.acknowledged - written.sent < 1


def test_an_empty_one_is_deleted_and_deleting_twice_is_fine(kernel: KernelRequests, group: Group) -> None:
    switch = GroupWriter(kernel)
    for _ in range(2):
        assert switch.write(GROUP, ()).error == ""
    assert group() == ()


def test_a_missing_member_does_not_keep_the_others_out(
    world: TwoTunnels, kernel: KernelRequests, group: Group
) -> None:
    switch = GroupWriter(kernel)
    switch.write(GROUP, ((101, 1),))
    ip("nexthop delete id 102", namespace=world.gw)
    written = switch.write(GROUP, BOTH)
    assert group() == ((101, 1),)
    assert written.error == "without nexthop 102: there is none"
    assert switch.verify({GROUP: BOTH}) == []  # nothing better can be had

    ip("nexthop add id 102 dev t1", namespace=world.gw)
    assert switch.verify({GROUP: BOTH}) == [GROUP]
    assert group() == BOTH
    assert switch.verify({GROUP: BOTH}) == []
    assert switch.written[GROUP].error == ""
    assert switch.repaired == 0  # the kernel's doing


def test_what_others_changed_or_removed_is_put_back_and_counted(
    world: TwoTunnels, kernel: KernelRequests, group: Group
) -> None:
    switch = GroupWriter(kernel)
    switch.write(GROUP, BOTH)
    ip(f"nexthop delete id {GROUP}", namespace=world.gw)
    assert switch.verify({GROUP: BOTH}) == [GROUP]
    ip(f"nexthop replace id {GROUP} group 101 proto {PROTOCOL}", namespace=world.gw)
    switch.verify({GROUP: ((102, 1),)})
    assert group() == ((102, 1),)
    assert switch.repaired == 2


def test_a_write_without_any_member_left_is_an_error_and_changes_nothing(
    world: TwoTunnels, kernel: KernelRequests, group: Group
) -> None:
    switch = GroupWriter(kernel)
    switch.write(GROUP, ((101, 1),))
    ip("nexthop delete id 102", namespace=world.gw)
    written = switch.write(GROUP, ((102, 1),))
    assert written.acknowledged is None
    assert written.error == "none of its members exists"
    assert group() == ((101, 1),)


def test_what_the_kernel_took_out_with_a_link_is_put_back(
    world: TwoTunnels, kernel: KernelRequests, group: Group
) -> None:
    switch = GroupWriter(kernel)
    switch.write(GROUP, BOTH)
    ip("link set t1 down", namespace=world.gw)
    assert group() == ((101, 1),)
    ip("link set t1 up", "nexthop add id 102 dev t1", namespace=world.gw)
    assert switch.verify({GROUP: BOTH}) == [GROUP]
    assert group() == BOTH


def test_a_resilient_group_stays_resilient(world: TwoTunnels, kernel: KernelRequests) -> None:
    made = f"nexthop add id {RESILIENT} group 101 type resilient buckets 8 proto {PROTOCOL}"
    ip(made, namespace=world.gw)
    for switch in (GroupWriter(kernel), GroupWriter(kernel)):
        assert switch.write(RESILIENT, BOTH).error == ""
        have = kernel.nexthop(RESILIENT)
        assert have is not None
        assert have.group_type
        assert have.members == BOTH
        switch.write(RESILIENT, ((102, 1),))


def test_counters_of_an_interface_are_read(world: TwoTunnels, kernel: KernelRequests) -> None:
    index = inside(world.gw, lambda: socket.if_nametoindex("t0"))
    before = kernel.counters(index)
    udp = udp_socket(world.gw)
    with udp:
        udp.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"t0")
        udp.sendto(bytes(100), (SHARED, 9))
    after = kernel.counters(index)
    assert before is not None
    assert after is not None
    assert after.index == index
    assert after.tx_packets == before.tx_packets + 1
    assert after.tx_bytes >= before.tx_bytes + 128
