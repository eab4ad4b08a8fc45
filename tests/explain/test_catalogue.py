"""The catalogue: the file that comes with the package, and what is asked of it."""

from datetime import date
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.explain.cases import CATALOGUE, OSS

from vpnagent.cloud import CLOUD_SERVICES
from vpnagent.explain.catalogue import below


def test_the_file_tells_when_its_sources_were_read() -> None:
    assert date.fromisoformat(CATALOGUE.read) >= date(2026, 11, 23)


def test_all_networks_are_of_the_cloud_s_services_range() -> None:
    for service in CATALOGUE.services:
        assert service.networks
        assert all(network.subnet_of(CLOUD_SERVICES) for network in service.networks)


def test_no_network_of_a_region_is_another_service_s_or_region_s() -> None:
    regional = [(n, s.name, s.region) for s in CATALOGUE.services if s.region for n in s.networks]
    for index, (network, *owner) in enumerate(regional):
        for other, *its_owner in regional[index + 1 :]:
            assert not network.overlaps(other), (owner, its_owner)


def test_an_address_is_its_service_s_and_region_s() -> None:
    assert str(CATALOGUE.at(OSS)) == "OSS in cn-hangzhou"
    assert str(CATALOGUE.at(IPv4Address("100.115.4.9"))) == "Log Service in cn-hangzhou"
    assert CATALOGUE.at(IPv4Address("100.64.0.1")) is None


def test_the_narrowest_network_counts() -> None:
    assert str(CATALOGUE.at(IPv4Address("100.100.2.136"))) == "Private DNS"
    assert str(CATALOGUE.at(IPv4Address("100.100.2.137"))) == "Cloud Assistant"


@given(st.integers(int(CLOUD_SERVICES[0]), int(CLOUD_SERVICES[-1])).map(IPv4Address))
def test_an_address_is_of_a_service_if_and_only_if_one_of_its_networks_has_it(address: IPv4Address) -> None:
    found = CATALOGUE.at(address)
    having = [n for s in CATALOGUE.services for n in s.networks if address in n]
    assert (found is None) == (not having)
    if found is not None:
        assert max(having, key=lambda network: network.prefixlen) in found.networks


@pytest.mark.parametrize(
    ("public", "internal"),
    [
        ("oss-cn-hangzhou.aliyuncs.com", "oss-cn-hangzhou-internal.aliyuncs.com"),
        ("bucket.oss-cn-hangzhou.aliyuncs.com", "bucket.oss-cn-hangzhou-internal.aliyuncs.com"),
        ("project.cn-beijing.log.aliyuncs.com", "project.cn-beijing-internal.log.aliyuncs.com"),
        ("xoss-cn-hangzhou.aliyuncs.com", None),
        ("oss-cn-hangzhou-internal.aliyuncs.com", None),
        ("example.com", None),
    ],
)
def test_a_public_name_has_an_internal_one(public: str, internal: str | None) -> None:
    assert CATALOGUE.internal_name(public) == internal
    if internal is not None:
        assert CATALOGUE.internal(internal) is not None


def test_model_studio_has_public_addresses_only() -> None:
    for host in ("dashscope.aliyuncs.com", "ws-1.cn-beijing.maas.aliyuncs.com"):
        service = CATALOGUE.public(host)
        assert service is not None
        assert service.name == "Model Studio"
    assert CATALOGUE.public("notdashscope.aliyuncs.com") is None


def test_no_name_is_below_an_empty_one() -> None:
    assert not below("example.com", "")


def test_a_region_has_all_its_ranges() -> None:
    oss = next(s for s in CATALOGUE.services if (s.name, s.region) == ("OSS", "cn-hangzhou"))
    assert IPv4Network("100.118.28.0/24") in oss.networks
    assert len(oss.networks) == 4
