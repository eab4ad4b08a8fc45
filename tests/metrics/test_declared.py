"""The series of the contract, and that nothing churns."""

import re
import time
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from tests.config_examples import make_config

from vpnagent.config.values import TunnelKey
from vpnagent.finding import Finding, Severity
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.knowledge.tunnels import ChildStatus, IkeStatus, SaStatus
from vpnagent.metrics.declared import (
    METRICS,
    Distribution,
    Gauge,
    Histogram,
    Sample,
    histograms,
    samples,
    table,
    text,
)
from vpnagent.netlink.rtnetlink import LinkCounters
from vpnagent.policy.desired import desired
from vpnagent.policy.selection import Verdict
from vpnagent.routing.objects import KernelState
from vpnagent.status.report import refresh
from vpnagent.witness.values import NetworkVerdict as Carried
from vpnagent.witness.values import Pair, Statement

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")
WITHOUT_PROBER_AND_HOOKS = {
    "vpnagent_flinches_total",
    "vpnagent_hook_failures_total",
    "vpnagent_probe_rtt_seconds",
    "vpnagent_probe_sent_total",
    "vpnagent_probe_lost_total",
    "vpnagent_probe_overflows_total",
    "vpnagent_probe_send_errors_total",
    "vpnagent_standby_proven_seconds",
    "vpnagent_prober_lateness_seconds",
    "vpnagent_events_lost_total",
}


@pytest.fixture
def known() -> Knowledge:
    return Knowledge(config=make_config(), loaded_at=time.time())


def exposed(known: Knowledge, *, openmetrics: bool) -> str:
    return text(samples(known), histograms(known), openmetrics=openmetrics).decode()


def scrape(known: Knowledge) -> dict[tuple[str, ...], float]:
    families = text_string_to_metric_families(exposed(known, openmetrics=False))
    return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


def bring_up(known: Knowledge) -> None:
    known.charon.connected = True
    known.charon.statuses = {PRIMARY: SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)}
    known.charon.verdicts = {PRIMARY: Verdict(child_sa_installed=True)}
    known.kernel.selected = {"hangzhou": ("primary",)}
    known.kernel.state = KernelState(
        objects=desired(known.config, {}, frozenset()).kernel,
        foreign_links=frozenset(),
        foreign_routes=frozenset(),
        counters={"vpn-hz-1": LinkCounters(rx_bytes=10, tx_bytes=20, rx_packets=1, tx_packets=2)},
    )
    known.kernel.traffic.update(known.kernel.state)
    refresh(known, time.time())


def test_a_tunnel_that_is_down_has_its_series(known: Knowledge) -> None:
    bring_up(known)
    known.charon.connected = False
    found = scrape(known)
    assert found["vpnagent_tunnel_up", "hangzhou", "backup"] == 0
    assert found["vpnagent_child_sa_installed", "hangzhou", "backup"] == 0
    assert found["vpnagent_tunnel_receive_bytes_total", "hangzhou", "backup"] == 0
    assert found["vpnagent_charon_up",] == 0


def test_a_tunnel_that_is_up_says_so_everywhere(known: Knowledge) -> None:
    bring_up(known)
    found = scrape(known)
    for name in ("tunnel_up", "tunnel_forwarding", "ike_sa_established", "child_sa_installed"):
        assert found[f"vpnagent_{name}", "hangzhou", "primary"] == 1
        assert found[f"vpnagent_{name}", "hangzhou", "backup"] == 0
    assert found["vpnagent_tunnel_transmit_bytes_total", "hangzhou", "primary"] == 20


def test_exactly_one_state_is_one(known: Knowledge) -> None:
    bring_up(known)
    series = {"vpnagent_tunnel_state", "hangzhou", "primary"}
    states = [value for key, value in scrape(known).items() if series <= set(key)]
    assert sorted(states)[-2:] == [0, 1]


def test_before_the_first_look_no_counter_is_zero_that_may_not_be(known: Knowledge) -> None:
    found = {name for name, *_ in scrape(known)}
    assert not {name for name in found if "receive" in name or "transmit" in name or "probe_" in name}


def test_a_thousand_rekeys_mint_no_series(known: Knowledge) -> None:
    bring_up(known)
    before = scrape(known).keys()
    for count in range(1, 1001):
        known.charon.rekeys[PRIMARY] = count
        rekeying = SaStatus(ike=IkeStatus.REKEYING, child=ChildStatus.REKEYING)
        settled = SaStatus(ike=IkeStatus.ESTABLISHED, child=ChildStatus.INSTALLED)
        known.charon.statuses = {PRIMARY: rekeying if count % 2 else settled}
        refresh(known, time.time())
    found = scrape(known)
    assert found.keys() == before
    assert found["vpnagent_rekeys_total", "hangzhou", "primary"] == 1000


def test_a_removed_tunnel_takes_all_its_series_along(known: Knowledge) -> None:
    bring_up(known)
    left = Failover(
        at=0.0, old=("backup",), new=("primary",), reason="silent", detection_seconds=0.3, switch_seconds=0.1
    )
    known.kernel.note("hangzhou", left)
    known.config = make_config(connection={"tunnels": known.config.tunnels()[:1]})
    assert not [key for key in scrape(known) if "backup" in key]


def test_what_never_happened_is_counted_as_zero(known: Knowledge) -> None:
    found = scrape(known)
    assert found["vpnagent_failovers_total", "hangzhou", "silent"] == 0
    assert found["vpnagent_negotiation_failures_total", "hangzhou", "PskMismatch", "primary"] == 0
    assert found["vpnagent_drift_repairs_total", "route"] == 0
    assert found["vpnagent_events_total", "TunnelDown"] == 0


def test_every_sample_is_of_a_declared_metric_with_its_labels(known: Knowledge) -> None:
    bring_up(known)
    known.kernel.failover_counts["hangzhou", "child-sa"] = 1
    known.kernel.repairs["route"] = 2
    known.charon.negotiation_failures[PRIMARY, "PskMismatch"] = 3
    known.event_counts["Failover"] = 4
    known.certificate_expiry = {PRIMARY: 1.8e9}
    pair = Pair("hangzhou", known.config.gateway.local_networks[0], IPv4Network("100.64.0.0/10"))
    known.witness = Statement(verdicts=(Carried(pair),))
    known.findings.update([Finding(code="X", subject="", severity=Severity.INFO, text="", hint="")], at=0.0)
    told = [*samples(known), *((name, labels, total) for name, labels, _, total in histograms(known))]
    assert {name for name, _, _ in told} >= METRICS.keys() - WITHOUT_PROBER_AND_HOOKS
    assert all(len(labels) == len(METRICS[name].labels) for name, labels, _ in told)


def test_the_openmetrics_are_valid(known: Knowledge) -> None:
    bring_up(known)
    families = read_openmetrics(exposed(known, openmetrics=True))  # type: ignore[no-untyped-call]
    names = {sample.name for family in families for sample in family.samples}
    assert {"vpnagent_build_info", "vpnagent_failovers_total", "vpnagent_tunnel_up"} <= names


def test_a_failover_is_counted_in_the_histograms_of_the_tunnel_that_was_left(known: Knowledge) -> None:
    failover = Failover(
        at=0.0,
        old=("primary",),
        new=("backup",),
        reason="silent",
        detection_seconds=0.31,
        switch_seconds=0.0002,
    )
    known.kernel.note("hangzhou", failover)
    found = scrape(known)
    assert found["vpnagent_failovers_total", "hangzhou", "silent"] == 1
    assert found["vpnagent_failover_detection_seconds_count", "hangzhou", "primary"] == 1
    assert found["vpnagent_failover_detection_seconds_sum", "hangzhou", "primary"] == 0.31
    buckets = {
        k[2]: v for k, v in found.items() if k[0].endswith("detection_seconds_bucket") and k[3] == "primary"
    }
    assert (buckets["0.3"], buckets["0.4"], buckets["+Inf"]) == (0, 1, 1)


# docs/metrics.md is that of the declarations, and its queries ask for nothing else.

MANUAL = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()


def test_the_documented_metrics_are_those_that_are_declared() -> None:
    # To renew them: python -m vpnagent.metrics.declared
    written = MANUAL.partition("metrics.declared` -->\n")[2].partition("<!-- end of metrics -->")[0]

    assert written.strip() == table().strip()


def test_the_queries_ask_for_declared_metrics() -> None:
    queries = MANUAL.partition("```promql\n")[2].partition("```")[0]
    asked = {name.removesuffix("_bucket") for name in re.findall(r"vpnagent_\w+", queries)}

    assert asked
    assert asked <= METRICS.keys()


@pytest.mark.parametrize("name", METRICS)
def test_a_name_is_of_its_type_and_unit(name: str) -> None:
    metric = METRICS[name]
    counter = metric.kind not in (Gauge, Histogram)
    assert name.endswith("_total") == counter
    assert metric.unit != "seconds" or name.endswith("_seconds")
    assert not (counter and metric.unit == "bytes") or name.endswith("_bytes_total")
    assert metric.help.endswith(".")
    assert "|" not in metric.help


# What is written is what prometheus-client writes, to the byte.

words = st.text(max_size=8)
numbers = st.floats().map(lambda number: number + 0.0) | st.integers(0, 2**60) | st.booleans()


def labels(name: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.tuples(*[words] * len(METRICS[name].labels))


def of(names: list[str]) -> st.SearchStrategy[list[Sample]]:
    one = st.sampled_from(names).flatmap(lambda name: st.tuples(st.just(name), labels(name), numbers))
    return st.lists(one, max_size=8)


SAMPLES = of([name for name in METRICS if METRICS[name].kind is not Histogram])
HISTOGRAMS = of([name for name in METRICS if METRICS[name].kind is Histogram]).map(
    lambda found: [(name, values, [("0.5", 1), ("+Inf", total)], total) for name, values, total in found]
)


class Fixed(Collector):
    """The library's way: families of sample objects."""

    def __init__(self, samples: list[Sample], histograms: list[Distribution]) -> None:
        self._families: dict[str, Any] = {
            name: declared.kind(name, declared.help, labels=declared.labels)
            for name, declared in METRICS.items()
        }
        for name, values, value in samples:
            self._families[name].add_metric(values, value)
        for name, values, buckets, total in histograms:
            self._families[name].add_metric(values, buckets, total)

    def collect(self) -> list[Metric]:
        return list(self._families.values())


def registry(samples: list[Sample], histograms: list[Distribution]) -> CollectorRegistry:
    found = CollectorRegistry()
    found.register(Fixed(samples, histograms))
    return found


@given(SAMPLES, HISTOGRAMS)
def test_the_text_is_the_librarys(samples: list[Sample], histograms: list[Distribution]) -> None:
    assert text(samples, histograms, openmetrics=False) == generate_latest(registry(samples, histograms))


@given(SAMPLES, HISTOGRAMS)
def test_the_openmetrics_are_the_librarys(samples: list[Sample], histograms: list[Distribution]) -> None:
    expected = generate_openmetrics(registry(samples, histograms))  # type: ignore[no-untyped-call]
    assert text(samples, histograms, openmetrics=True) == expected
