"""The catalogue: the file that comes with the package, and what is asked of it."""

from datetime import date
from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands.explain.cases import CATALOGUE, OSS

from vpnagent.commands.explain.catalogue import below
from vpnagent.config.values import CLOUD_SERVICES


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
        ("ap-southeast-1.log.aliyuncs.com", "ap-southeast-1-internal.log.aliyuncs.com"),
        ("b.oss-xx-nowhere-9.aliyuncs.com", "b.oss-xx-nowhere-9-internal.aliyuncs.com"),
        ("cn-hangzhou.oss.aliyuncs.com", "oss-cn-hangzhou-internal.aliyuncs.com"),
        ("b.cn-hangzhou.oss.aliyuncs.com", "b.oss-cn-hangzhou-internal.aliyuncs.com"),
        ("oss-cn-hzfinance.aliyuncs.com", "oss-cn-hzfinance-internal.aliyuncs.com"),
        ("oss-cn-shanghai-finance-1-pub.aliyuncs.com", "oss-cn-shanghai-finance-1-internal.aliyuncs.com"),
        ("cn-hangzhou-intranet.log.aliyuncs.com", None),
        ("xoss-cn-hangzhou.aliyuncs.com", None),
        ("oss.aliyuncs.com", None),
        ("oss-cn-hangzhou.aliyuncs.com.example.com", None),
        ("oss-cn-hangzhou-internal.aliyuncs.com", None),
        ("example.com", None),
    ],
)
def test_a_public_name_has_an_internal_one(public: str, internal: str | None) -> None:
    assert CATALOGUE.internal_name(public) == internal
    assert not CATALOGUE.internal(public) or internal is None
    assert internal is None or CATALOGUE.internal(internal)


@pytest.mark.parametrize(
    ("host", "internal"),
    [
        ("oss-cn-hangzhou-internal.aliyuncs.com", True),
        ("b.oss-xx-nowhere-9-internal.aliyuncs.com", True),
        ("vpc100-oss-cn-hangzhou.aliyuncs.com", True),
        ("b.vpc100-oss-cn-hangzhou.aliyuncs.com", True),
        ("project.cn-hangzhou-intranet.log.aliyuncs.com", True),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", True),
        ("registry-internal.cn-hangzhou.aliyuncs.com", True),
        ("pvtz.vpc-proxy.aliyuncs.com", True),
        ("oss-cn-shanghai-finance-1-internal.aliyuncs.com", True),
        ("oss-cn-hangzhou.aliyuncs.com", False),
        ("cn-hangzhou.oss.aliyuncs.com", False),
        ("registry.cn-hangzhou.aliyuncs.com", False),
        ("host-internal.example.com", False),
        ("my-vpc.example.com", False),
    ],
)
def test_internal_names_are_known_by_their_pattern_wherever_they_are(host: str, internal: bool) -> None:
    assert CATALOGUE.internal(host) is internal


@pytest.mark.parametrize(
    ("host", "lacking"),
    [
        ("oss-cn-hangzhou-internal.aliyuncs.com", ""),
        ("cn-hangzhou-internal.log.aliyuncs.com", ""),
        ("cn-hangzhou-intranet.log.aliyuncs.com", "cn-hangzhou-internal.log.aliyuncs.com"),
        ("ap-southeast-1-internal.log.aliyuncs.com", "no ranges of Log Service in ap-southeast-1"),
        ("ap-southeast-1.log.aliyuncs.com", "no ranges of Log Service in ap-southeast-1"),
        ("vpc100-oss-xx-nowhere-9.aliyuncs.com", "no ranges of OSS in xx-nowhere-9"),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", ""),
        ("www.example.com", ""),
    ],
)
def test_what_the_table_lacks_it_says(host: str, lacking: str) -> None:
    said = CATALOGUE.lacks(host)
    assert lacking in said if lacking else not said


def test_a_region_says_which_services_it_has_no_ranges_of() -> None:
    assert CATALOGUE.services_without("cn-hangzhou") == ()
    assert CATALOGUE.services_without("ap-southeast-1") == ("Log Service",)
    assert CATALOGUE.services_without("cn-heyuan-acdr-1") == ("OSS",)
    assert CATALOGUE.services_without("xx-nowhere-9") == ("OSS", "Log Service")


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
