"""What is said of each trouble, and that nothing is said where there is none."""

from ipaddress import IPv4Address, IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.commands.explain.cases import (
    CATALOGUE,
    DOWN,
    NO_ROUTE,
    OSS,
    PUBLIC,
    RDS,
    UP,
    make_answer,
    make_route,
    seen,
)
from tests.config_examples import make_config

from vpnagent.commands.explain.advice import advise, is_fine
from vpnagent.commands.explain.present import as_json, lines
from vpnagent.commands.explain.reasoning import (
    ExplainedRoute,
    Explanation,
    NoRoute,
    Outcome,
    Seen,
    Target,
    TunnelSeen,
    explain,
)
from vpnagent.config.values import Attachment, Config, TrafficSelectors, TunnelKey
from vpnagent.finding import Finding, Severity

PRIMARY = TunnelKey("hangzhou", "primary")
OSS_NETWORK = IPv4Network("100.64.0.0/10")
NETWORKS = make_config(connection={"traffic_selectors": TrafficSelectors.NETWORKS})
VPC_ONLY = make_config(connection={"remote_networks": (IPv4Network("172.16.0.0/16"),)})


def of_address(
    address: IPv4Address, what: Seen, config: Config | None = None, tunnel: TunnelSeen = UP
) -> dict[str, Finding]:
    explanation = explain(config or make_config(), CATALOGUE, address, what, {PRIMARY: tunnel})
    found = advise(CATALOGUE, Target(str(address), address, 443), (explanation,))
    return {finding.code: finding for finding in found}


def of_name(host: str, *addresses: IPv4Address) -> dict[str, Finding]:
    explanations = tuple(explain(make_config(), CATALOGUE, a, seen(), {}) for a in addresses)
    return {f.code: f for f in advise(CATALOGUE, Target(host, None, None), explanations, "no such name")}


@pytest.mark.parametrize("address", [OSS, RDS])
def test_of_what_goes_through_a_tunnel_and_answers_there_is_nothing_to_say(address: IPv4Address) -> None:
    assert of_address(address, seen()) == {}


def test_a_service_that_no_connection_carries_has_its_region_s_ranges_named() -> None:
    found = of_address(OSS, seen(make_route(interface="eth0")), VPC_ONLY)["not-configured"]
    assert "100.118.28.0/24, 100.114.102.0/24, 100.98.170.0/24, 100.118.31.0/24" in found.hint
    unknown = of_address(IPv4Address("100.64.0.1"), seen(make_route(interface="eth0")), VPC_ONLY)
    assert "100.64.0.0/10" in unknown["not-configured"].hint


def test_a_private_address_that_is_nowhere_is_told() -> None:
    route = make_route(interface="eth0")
    assert "not-configured" in of_address(IPv4Address("192.168.9.9"), seen(route))


def test_the_guard_means_that_no_tunnel_carries_the_prefix() -> None:
    found = of_address(OSS, seen(NO_ROUTE, Outcome.UNREACHABLE))
    assert found.keys() == {"no-tunnel"}
    assert found["no-tunnel"].severity is Severity.CRITICAL


def test_no_route_for_anything_else_is_no_tunnel_s_fault() -> None:
    assert of_address(PUBLIC, seen(NO_ROUTE, Outcome.UNREACHABLE)).keys() == {"no-route"}


def test_a_route_of_others_that_wins_is_named() -> None:
    route = make_route(interface="eth0", prefix=IPv4Network("100.118.0.0/16"), protocol=3)
    found = of_address(OSS, seen(route))["bypass"]
    assert "eth0" in found.text
    assert "100.118.0.0/16" in found.text
    assert "PrivateLink" in found.hint


def test_an_exit_is_meant() -> None:
    line = make_config(connection={"exits": ("eth3",), "route_metric": 500})
    found = of_address(OSS, seen(make_route(interface="eth3", prefix=OSS_NETWORK, protocol=186)), line)
    assert [(code, f.severity) for code, f in found.items()] == [("by-exit", Severity.INFO)]
    assert "bypass" in of_address(OSS, seen(make_route(interface="eth0", prefix=OSS_NETWORK)), line)


def test_tailscale_s_table_is_known() -> None:
    route = make_route(interface="tailscale0", table=52)
    assert "5270" in of_address(OSS, seen(route))["bypass"].hint


def test_where_only_a_shorter_route_is_left_ours_is_missing() -> None:
    route = make_route(interface="eth0", prefix=IPv4Network("0.0.0.0/0"))
    assert "vpnagent plan" in of_address(OSS, seen(route))["bypass"].hint


def test_an_address_of_the_cloud_s_that_this_machine_has_itself_is_a_conflict() -> None:
    assert "itself" in of_address(OSS, seen(make_route(interface="lo", local=True)))["bypass"].text


def test_a_source_that_the_selectors_do_not_cover_is_told() -> None:
    route = make_route(source=IPv4Address("192.0.2.2"))
    found = of_address(OSS, seen(route), NETWORKS)["source-not-covered"]
    assert "gateway.source_address" in found.hint


def test_a_destination_that_the_selectors_do_not_cover_is_told() -> None:
    assert "not-covered" in of_address(IPv4Address("172.17.0.1"), seen(), NETWORKS)


def test_a_tunnel_that_the_daemon_holds_for_down_is_told() -> None:
    assert "path is silent" in of_address(OSS, seen(), tunnel=DOWN)["tunnel-not-up"].text


@pytest.mark.parametrize(
    ("attachment", "words"),
    [
        (Attachment.VPN_GATEWAY, "custom advertised route 100.64.0.0/10 on the VPN gateway"),
        (Attachment.TRANSIT_ROUTER, "a route to 100.64.0.0/10 in the transit router's table"),
    ],
)
def test_silence_behind_a_tunnel_is_a_matter_of_the_cloud_s_routes(
    attachment: Attachment, words: str
) -> None:
    config = make_config(connection={"attachment": attachment})
    assert words in of_address(OSS, seen(outcome=Outcome.SILENT), config)["silent"].hint


def test_silence_in_a_vpc_is_a_matter_of_its_security_group() -> None:
    assert "security group" in of_address(RDS, seen(outcome=Outcome.SILENT))["silent"].hint


def test_the_metadata_service_is_not_expected_to_answer() -> None:
    found = of_address(IPv4Address("100.100.100.200"), seen(outcome=Outcome.SILENT))
    assert found.keys() == {"instances-only"}
    assert is_fine(list(found.values()))


def test_a_refusal_proves_the_path() -> None:
    found = of_address(RDS, seen(outcome=Outcome.REFUSED))
    assert found.keys() == {"refused"}
    assert "answers" in found["refused"].text


@pytest.mark.parametrize(
    ("host", "addresses", "code", "words"),
    [
        ("oss-cn-hangzhou-internal.aliyuncs.com", [], "unresolved", "100.100.2.136"),
        ("nowhere.example", [], "unresolved", "correct the name"),
        ("oss-cn-hangzhou-internal.aliyuncs.com", [PUBLIC], "wrong-answer", "inbound endpoint"),
        (
            "b.oss-cn-hangzhou.aliyuncs.com",
            [PUBLIC],
            "public-name",
            "b.oss-cn-hangzhou-internal.aliyuncs.com",
        ),
        ("cn-hangzhou-intranet.log.aliyuncs.com", [PUBLIC], "wrong-answer", "inbound endpoint"),
        ("vpc100-oss-cn-hangzhou.aliyuncs.com", [PUBLIC], "wrong-answer", "inbound endpoint"),
        ("registry-vpc.cn-hangzhou.aliyuncs.com", [PUBLIC], "wrong-answer", "inbound endpoint"),
        (
            "ap-southeast-1.log.aliyuncs.com",
            [PUBLIC],
            "public-name",
            "use ap-southeast-1-internal.log.aliyuncs.com; the table of ranges",
        ),
        (
            "cn-hangzhou.oss.aliyuncs.com",
            [PUBLIC],
            "public-name",
            "use oss-cn-hangzhou-internal.aliyuncs.com",
        ),
        ("dashscope.aliyuncs.com", [PUBLIC], "public-only", "PrivateLink"),
        ("ecs.cn-hangzhou.aliyuncs.com", [PUBLIC], "public-name", "PrivateLink"),
    ],
)
def test_names_have_their_remedies(host: str, addresses: list[IPv4Address], code: str, words: str) -> None:
    assert words in of_name(host, *addresses)[code].hint


@pytest.mark.parametrize(
    "host", ["dashscope.aliyuncs.com", "oss-cn-hangzhou.aliyuncs.com", "www.example.com"]
)
def test_a_name_that_leads_into_the_cloud_needs_no_remedy(host: str) -> None:
    assert of_name(host, RDS) == {}


routes = st.one_of(
    st.sampled_from([NO_ROUTE, NoRoute(101, "Network is unreachable")]),
    st.builds(
        make_route,
        interface=st.sampled_from(["vpn-hz-1", "vpn-hz-2", "eth0", "lo"]),
        local=st.booleans(),
        table=st.sampled_from([52, 254, 255]),
        prefix=st.sampled_from([None, IPv4Network("0.0.0.0/0"), IPv4Network("100.118.0.0/16")]),
        source=st.one_of(st.none(), st.ip_addresses(v=4)),
    ),
)
sights = st.builds(lambda r, o: Seen(route=r, answer=make_answer(o)), routes, st.sampled_from(Outcome))
everything = st.lists(
    st.tuples(st.one_of(st.ip_addresses(v=4), st.sampled_from([OSS, RDS, PUBLIC])), sights), max_size=3
)


def explained(config: Config, found: list[tuple[IPv4Address, Seen]]) -> tuple[Explanation, ...]:
    return tuple(explain(config, CATALOGUE, address, what, {PRIMARY: DOWN}) for address, what in found)


@given(everything, st.sampled_from([make_config(), NETWORKS, VPC_ONLY]))
def test_whatever_was_seen_is_explained_worst_first_and_printed(found: Any, config: Config) -> None:
    target, explanations = Target("oss-cn-hangzhou.aliyuncs.com", None, None), explained(config, found)
    findings = advise(CATALOGUE, target, explanations)
    severities = [list(Severity).index(finding.severity) for finding in findings]
    assert severities == sorted(severities, reverse=True)
    assert all(finding.text and finding.hint for finding in findings)
    text = "\n".join(lines(CATALOGUE, target, explanations, findings, ""))
    assert all(str(e.address) in text for e in explanations)
    json_ = as_json(CATALOGUE, target, explanations, findings, "")
    assert [a["address"] for a in json_["addresses"]] == [str(e.address) for e in explanations]


@given(sights, st.sampled_from([OSS, RDS]))
def test_only_what_answers_through_a_tunnel_is_fine(what: Seen, address: IPv4Address) -> None:
    explanation = explain(make_config(), CATALOGUE, address, what, {PRIMARY: UP})
    findings = advise(CATALOGUE, Target(str(address), address, None), (explanation,))
    answers = what.answer.outcome in (Outcome.ANSWERED, Outcome.NOT_ASKED)
    through = (
        isinstance(what.route, ExplainedRoute) and not what.route.local and what.route.interface != "eth0"
    )
    through = through and explanation.tunnel is not None
    assert is_fine(findings) == (answers and through)
