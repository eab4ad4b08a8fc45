"""The rule file: the alerts of the contract, of metrics that there are, valid for any name."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.commands.alerts.gateways import EVERY_KIND, SCOPE, connection, gateway, routed
from tests.config_examples import make_tunnel
from tests.finding_codes import PACKAGE, codes

from vpnagent.commands.alerts import groups, rule_file
from vpnagent.config.values import Config
from vpnagent.metrics.declared import METRICS, cumulative
from vpnagent.probe.actions import LATENESS_BOUNDS

LEVELS: Final = ["info", "warning", "critical"]
CONTRACT: Final = {
    "VpnGatewayBandwidthHigh": LEVELS,
    "VpnTunnelBandwidthHigh": LEVELS,
    "VpnTunnelPacketRateHigh": LEVELS,
    "VpnTunnelDown": ["critical"],
    "VpnNetworkNotCarried": ["critical"],
    "VpnNoStandby": ["warning"],
    "VpnPathDegraded": ["warning"],
    "VpnPathUnprobed": ["warning"],
    "VpnStandbyUnproven": ["info"],
    "VpnFailover": ["info"],
    "VpnClearTextStopped": ["critical"],
    "VpnCertificateExpiry": ["warning", "critical"],
    "VpnAgentDown": ["critical"],
    "VpnCharonDown": ["critical"],
    "VpnConfigReloadFailed": ["warning"],
    "VpnDriftRepeated": ["warning"],
    "VpnProberLate": ["warning"],
}
LE: Final = {"le"}  #: of a histogram's buckets


def rules(config: Config) -> list[dict[str, Any]]:
    return [rule for group in groups(config, SCOPE)["groups"] for rule in group["rules"]]


def alerts(config: Config) -> list[dict[str, Any]]:
    return [rule for rule in rules(config) if "alert" in rule]


def severities(config: Config) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for alert in alerts(config):
        found.setdefault(alert["alert"], []).append(alert["labels"]["severity"])
    return found


def test_the_alerts_and_severities_are_those_of_the_contract() -> None:
    assert severities(EVERY_KIND) == CONTRACT


def test_a_level_begins_where_the_page_says_and_ends_where_the_next_begins() -> None:
    for name in ("VpnGatewayBandwidthHigh", "VpnTunnelBandwidthHigh", "VpnTunnelPacketRateHigh"):
        ends = [a["expr"].split("[5m]) ")[1] for a in alerts(EVERY_KIND) if a["alert"] == name]
        assert ends == ["> 0.3 <= 0.5", "> 0.5 <= 0.85", "> 0.85"]


def test_only_what_is_configured_is_judged() -> None:
    of_gateway, of_tunnel = {"VpnGatewayBandwidthHigh"}, {"VpnTunnelBandwidthHigh", "VpnTunnelPacketRateHigh"}
    assert severities(gateway(connection("a"))).keys() == CONTRACT.keys() - of_tunnel
    assert severities(gateway(routed("a"))).keys() == CONTRACT.keys() - of_gateway - {"VpnNoStandby"}


def test_connections_of_one_vpn_gateway_are_summed_and_others_are_not() -> None:
    found = {
        (rule["labels"]["vpn_gateway"], rule["labels"]["cloud_direction"]): rule["expr"]
        for rule in rules(EVERY_KIND)
        if "vpn_gateway" in rule.get("labels", {})
    }
    assert found.keys() == {(g, d) for g in ("vpn-bp1", "shanghai") for d in ("inbound", "outbound")}
    assert 'connection=~"hangzhou|ningbo"' in found["vpn-bp1", "inbound"]
    assert "transmit" in found["vpn-bp1", "inbound"]
    assert 'connection=~"shanghai"' in found["shanghai", "outbound"]
    assert "receive" in found["shanghai", "outbound"]


def test_lateness_is_judged_by_the_shortest_interval() -> None:
    def bound(*intervals: float) -> str:
        probes = [replace(make_tunnel(1).probe, interval=interval) for interval in intervals]
        made = connection("a", ("x", "y")[: len(probes)])
        tunnels = [replace(t, probe=probe) for t, probe in zip(made.tunnels, probes, strict=True)]
        [expr] = [
            alert["expr"]
            for alert in alerts(gateway(replace(made, tunnels=tuple(tunnels))))
            if alert["alert"] == "VpnProberLate"
        ]
        return str(re.findall(r'le="([^"]+)"', expr)[0])

    assert bound(0.1) == "0.025"
    assert bound(60.0) == "1.0"
    assert bound(60.0, 0.01) == "0.005"


def test_a_bucket_is_named_as_the_agent_names_it() -> None:
    exported = {bucket for bucket, _ in cumulative(LATENESS_BOUNDS, [0] * (len(LATENESS_BOUNDS) + 1))}
    assert {str(bound) for bound in LATENESS_BOUNDS} <= exported


def used(config: Config) -> Iterator[tuple[str, set[str]]]:
    """Yield each selector of ours in an expression, as the metric's name and the labels it asks for."""
    for rule in rules(config):
        for name, matchers in re.findall(r"\b(vpnagent_\w+){([^}]*)}", rule["expr"]):
            yield name, set(re.findall(r'(\w+)=~?"', matchers)) - {"job", "instance"}


def test_every_metric_is_one_that_the_agent_has_with_the_labels_that_are_asked_for() -> None:
    assert list(used(EVERY_KIND))
    for name, labels in used(EVERY_KIND):
        declared = METRICS[re.sub(r"_(bucket|count)$", "", name)]
        assert labels - LE <= set(declared.labels), name


def test_every_selector_is_of_this_job_and_instance() -> None:
    scope = replace(SCOPE, job="vpn", instance="idc-hz-1:9786")
    for group in groups(EVERY_KIND, scope)["groups"]:
        for rule in group["rules"]:
            selectors = re.findall(r"\w+{([^}]*)}", rule["expr"])
            assert selectors
            own = 'job="vpn",instance="idc-hz-1:9786"'
            assert all(s.startswith((own, 'gateway="idc-hz-1"')) for s in selectors), rule["expr"]


@pytest.mark.parametrize("alert", alerts(EVERY_KIND), ids=lambda a: f"{a['alert']}-{a['labels']['severity']}")
def test_an_alert_says_what_is_wrong_what_it_breaks_and_where_to_read_on(alert: dict[str, Any]) -> None:
    annotations = alert["annotations"]
    assert annotations.keys() == {"summary", "description", "runbook_url"}
    assert annotations["summary"]
    assert not annotations["summary"].endswith(".")
    assert annotations["description"].endswith(".")
    assert annotations["runbook_url"] == f"{SCOPE.runbook_url}#{alert['alert'].lower()}"
    assert alert["labels"]["gateway"] == "idc-hz-1"


WORDS = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=64)


@given(gateway_id=WORDS, job=WORDS, instance=st.none() | WORDS)
def test_whatever_a_name_is_it_is_read_as_written(gateway_id: str, job: str, instance: str | None) -> None:
    config = gateway(connection("hangzhou", gateway_id=gateway_id))
    scope = replace(SCOPE, job=job, instance=instance)
    assert yaml.safe_load(rule_file(config, scope)) == groups(config, scope)


# docs/runbook.md has an entry for whatever can be told: every alert, and every code of a finding.

DOCS: Final = PACKAGE.parents[1] / "docs"
RUNBOOK: Final = (DOCS / "runbook.md").read_text()
PARTS: Final = re.split(r"^### (.*)$", RUNBOOK, flags=re.MULTILINE)
ENTRIES: Final = dict(zip(PARTS[1::2], PARTS[2::2], strict=True))

ALERTS: Final = {
    rule["alert"]
    for group in groups(EVERY_KIND, SCOPE)["groups"]
    for rule in group["rules"]
    if "alert" in rule
}
CODES: Final = codes(PACKAGE.rglob("*.py"))

HOW: Final = """
Write in docs/runbook.md, under the heading that fits:

### {name}

What it means, in a sentence or two.

- Affects: who or what does not work, and what still does.
- Look: the commands that show more.
- Do: 1. what helps most often. 2. what else.
"""


def test_the_codes_are_found() -> None:
    assert {"TunnelDown", "WeakDes", "IkeDropped", "TunnelFull", "Drill", "public-name"} <= CODES
    assert not CODES & {"IPv4Address", "NoResponse"}


def test_every_alert_and_every_code_has_an_entry() -> None:
    missing = sorted((ALERTS | CODES) - ENTRIES.keys())
    advice = "".join(HOW.format(name=name) for name in missing)
    assert not missing, f"the runbook has no entry {', '.join(missing)}.{advice}"


def test_every_entry_is_of_something_that_can_be_told() -> None:
    assert ENTRIES.keys() - ALERTS - CODES == set()


def test_an_entry_says_what_it_means_what_it_affects_where_to_look_and_what_to_do() -> None:
    for name, body in ENTRIES.items():
        meaning, *items = re.split(r"^- ", body.split("\n## ")[0].strip(), flags=re.MULTILINE)
        assert len(meaning.split()) >= 3, f"{name} does not say what it means"
        said = [item.partition(":")[0] for item in items]
        assert said in (["Affects", "Look", "Do"], ["Affects", "Look, do"]), f"{name} has {said}"


def anchors(text: str) -> Counter[str]:
    """Return the fragments of a page's headings, as GitHub and others make them."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return Counter(re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings)


def test_every_link_leads_to_a_heading() -> None:
    for page, fragment in re.findall(r"\]\(([\w.]*)#([\w-]+)\)", RUNBOOK):
        assert anchors((DOCS / page).read_text() if page else RUNBOOK)[fragment] == 1, f"{page}#{fragment}"


def test_the_links_of_alerts_lead_to_their_entries() -> None:
    assert {name.lower() for name in ALERTS} <= anchors(RUNBOOK).keys()


def test_docs_alerts_has_every_alert_once() -> None:
    rows = re.findall(r"^\| `(Vpn\w+)` \|", (DOCS / "alerts.md").read_text(), flags=re.MULTILINE)
    assert Counter(rows) == Counter(ALERTS)
