"""What keepalived.conf says. How keepalived reads it: tests/native/test_keepalived_export.py."""

import re
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.config_examples import make_config, make_pair

from vpnagent.commands.export.keepalived import instances, keepalived, unready
from vpnagent.config.values import Config, Device, GatewayPair, NodeUplink
from vpnagent.config.wording import key_path

MOVING = IPv4Address("192.0.2.1")


def pair(**changes: Any) -> GatewayPair:
    made = make_pair(None)
    of_a, of_b = (NodeUplink(interface="eth1", address=MOVING + n) for n in (1, 2))
    whole = replace(
        made,
        a=replace(made.a, uplinks=(of_a,)),
        b=replace(made.b, uplinks=(of_b,)),
        virtual_addresses=(IPv4Address("10.1.0.1"),),
    )
    return replace(whole, **changes)


def config(of: GatewayPair | None = None, **primary: Any) -> Config:
    return make_config(
        gateway={"pair": of or pair(), "local_interfaces": ("eth0",)},
        primary={"local_address": MOVING, **primary},
        backup={"device": Device.B},
    )


def text(device: Device, *, realtime: bool = False) -> str:
    return keepalived(config(), device, first_id=51, realtime=realtime)


def of_both(pattern: str) -> list[list[str]]:
    return [re.findall(pattern, text(device)) for device in Device]


def test_each_sends_to_the_other_alone() -> None:
    assert of_both(r"unicast_src_ip (\S+)") == [["10.1.0.2", "192.0.2.2"], ["10.1.0.3", "192.0.2.3"]]
    assert of_both(r"unicast_peer \{\s+(\S+)") == [["10.1.0.3", "192.0.2.3"], ["10.1.0.2", "192.0.2.2"]]


def test_the_two_differ_in_priority_and_agree_in_what_moves() -> None:
    of_a, of_b = of_both(r"priority (\d+)")
    assert set(of_a).isdisjoint(of_b)
    for pattern in (r"(\S+)/32 dev (\S+)", r"virtual_router_id (\d+)", r"advert_int (\S+)", r"nopreempt"):
        of_a, of_b = of_both(pattern)
        assert of_a == of_b != []


def test_what_moves_moves_together_and_only_what_moves() -> None:
    both = [*instances(config(), Device.A)]
    assert [(i.interface, [str(a) for a in i.addresses]) for i in both] == [
        ("eth0", ["10.1.0.1"]),
        ("eth1", ["192.0.2.1"]),
    ]
    assert [i.interface for i in instances(config(device=Device.A), Device.A)] == ["eth0"]


def test_tunnels_of_one_address_move_it_once() -> None:
    shared = make_config(
        gateway={"pair": pair(), "local_interfaces": ("eth0",)},
        primary={"local_address": MOVING},
        backup={"local_address": MOVING},
    )
    assert [i.addresses for i in instances(shared, Device.B)][1:] == [(MOVING,)]


def test_a_realtime_keepalived_may_take_longer_than_the_kernels_tick() -> None:
    assert "vrrp_rlimit_rttime" in text(Device.A, realtime=True)
    assert "vrrp_rt_priority" not in text(Device.A)


@pytest.mark.parametrize(
    ("lacking", "problem"),
    [
        (make_config(), "gateway.pair: is required: without it there is nothing to move"),
        (
            config(pair(virtual_addresses=())),
            "gateway.pair.virtual_addresses: is required: what the hosts of the LAN have for a gateway",
        ),
        (
            make_config(gateway={"pair": pair()}, primary={"device": Device.A}, backup={"device": Device.B}),
            "gateway.local_interfaces: must be one: that of the virtual_addresses",
        ),
        (
            config(uplink="eth2"),
            "connections[0].tunnels[0].local_address: moves by eth2, "
            "which must be one of the uplinks of both nodes",
        ),
        (
            config(replace(pair(), b=make_pair(None).b)),
            "connections[0].tunnels[0].local_address: moves by an interface that is not named, "
            "which must be one of the uplinks of both nodes",
        ),
    ],
)
def test_what_is_lacking_is_named(lacking: Config, problem: str) -> None:
    assert [f"{key_path(path)}: {text}" for path, text in unready(lacking)] == [problem]


def test_nothing_is_lacking() -> None:
    assert [*unready(config())] == []
