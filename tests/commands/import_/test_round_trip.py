"""Whatever a connection is, its documents import to the configuration that it is."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.commands.import_.importing import loaded
from tests.commands.import_.models import (
    CLOUD,
    ENCRYPTION,
    GROUPS,
    OUR_ID,
    OURS,
    Model,
    Settings,
    describe,
    download,
    models,
)

from vpnagent.commands.import_.assemble import Answers
from vpnagent.config.values import Attachment, Config, Esp, Ike, Role, TrafficSelectors, UdpEncapsulation

ANSWERS = Answers(local_networks=(OURS,), remote_networks=(CLOUD,))


def check_common(model: Model, config: Config) -> None:
    """Assert what both views tell."""
    [connection] = config.connections
    assert config.gateway.local_networks == (IPv4Network(OURS),)
    assert connection.remote_networks == (IPv4Network(CLOUD),)
    assert connection.traffic_selectors is TrafficSelectors("any" if model.any_networks else "networks")
    assert len(connection.tunnels) == len(model.tunnels)
    for tunnel, expected in zip(connection.tunnels, model.tunnels, strict=True):
        assert tunnel.remote_address == IPv4Address(expected.remote_address)
        assert tunnel.remote_id == expected.remote_address
        assert tunnel.local_id == OUR_ID
        assert tunnel.psk is not None
        assert tunnel.psk.reveal().decode() == expected.psk
        assert tunnel.name == (expected.tunnel_id if model.dual else "tunnel")
        assert connection.esp_of(tunnel) == esp(expected.settings)
        assert replace(connection.ike_of(tunnel), dpd=True) == ike(expected.settings)


def ike(settings_of_cloud: Settings) -> Ike:
    encryption, integrity, group, lifetime = settings_of_cloud.ike
    return Ike(
        version=int(settings_of_cloud.version[-1]),
        mode=settings_of_cloud.mode if settings_of_cloud.version == "ikev1" else "main",
        encryption=ENCRYPTION[encryption],
        integrity=integrity,
        dh_group=GROUPS[group],
        lifetime=lifetime,
        dpd_delay=10,
    )


def esp(settings_of_cloud: Settings) -> Esp:
    encryption, integrity, group, lifetime = settings_of_cloud.esp
    return Esp(
        encryption=ENCRYPTION[encryption],
        integrity=integrity,
        pfs_group=GROUPS.get(group),
        lifetime=lifetime,
    )


def check_described(model: Model, config: Config) -> None:
    """Assert what only the cloud's view tells."""
    [connection] = config.connections
    vpn_gateway = model.attachment == "VPNGW"
    assert connection.name == "hangzhou"
    assert connection.attachment is (Attachment.VPN_GATEWAY if vpn_gateway else Attachment.TRANSIT_ROUTER)
    assert connection.bandwidth == {"Standard": 1e9, "Large": 3e9}[model.bandwidth]
    assert connection.gateway_id == ("vpn-1" if vpn_gateway else None)
    for tunnel, expected in zip(connection.tunnels, model.tunnels, strict=True):
        encapsulation = "always" if expected.settings.nat_traversal else "never"
        assert connection.udp_encapsulation_of(tunnel) is UdpEncapsulation(encapsulation)
        assert connection.ike_of(tunnel).dpd is expected.settings.dpd
        assert tunnel.inside_address == (
            IPv4Interface(f"{expected.slash_30[2]}/30") if model.inside else None
        )
        if model.dual and vpn_gateway:
            assert tunnel.role is (Role.ACTIVE if expected.role == "master" else Role.STANDBY)


@settings(max_examples=60)
@given(models(), st.booleans())
def test_both_views_together_are_the_whole_connection(model: Model, cloud_first: bool) -> None:
    documents = {"download": download(model), "describe": describe(model)}
    if cloud_first:
        documents = dict(reversed(documents.items()))
    config = loaded(documents, ANSWERS)
    check_common(model, config)
    check_described(model, config)


@settings(max_examples=60)
@given(models())
def test_the_cloud_view_is_the_whole_connection(model: Model) -> None:
    config = loaded({"describe": describe(model)}, ANSWERS)
    check_common(model, config)
    check_described(model, config)


@settings(max_examples=60)
@given(models())
def test_the_gateway_view_needs_but_the_attachment_and_the_active_tunnel(model: Model) -> None:
    attachment = "vpn-gateway" if model.attachment == "VPNGW" else "transit-router"
    asks = model.dual and attachment == "vpn-gateway"
    active = tuple(tunnel.tunnel_id for tunnel in model.tunnels if asks and tunnel.role == "master")
    answers = replace(ANSWERS, attachment=attachment, active=active)
    config = loaded({"download": download(model)}, answers)
    check_common(model, config)
    [connection] = config.connections
    for tunnel, expected in zip(connection.tunnels, model.tunnels, strict=True):
        assert (tunnel.inside_address is not None) == (model.inside and model.dual)
        if asks:
            assert tunnel.role is (Role.ACTIVE if expected.role == "master" else Role.STANDBY)
