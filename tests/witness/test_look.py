"""Confirming a loss, what a minute's look is to the witness, and who is told."""

import asyncio
import json
from dataclasses import replace
from ipaddress import IPv4Network
from typing import Any

import pytest
from tests.config_examples import make_config
from tests.witness.chains import Chain

from vpnagent.checks.firewall import Chain as FilterChain
from vpnagent.checks.firewall import FilterRule, Marking, Match, RuleAction, Ruleset
from vpnagent.checks.observation import Address, Observation
from vpnagent.daemon.witness import Watch, newly_broken
from vpnagent.errors import NetlinkError
from vpnagent.finding import Severity
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.metrics.declared import samples
from vpnagent.routing.objects import KernelObjects, KernelState
from vpnagent.status.document import state_of, status
from vpnagent.status.report import refresh
from vpnagent.witness.machine import from_plain, machine_of, to_plain
from vpnagent.witness.values import Facts, Filtering, Link, NetworkVerdict, Pair, Statement

LOCAL, OSS = IPv4Network("10.1.0.0/16"), IPv4Network("100.64.0.0/10")
PAIR = Pair("hangzhou", LOCAL, OSS)
CARRIED, LOST = (
    NetworkVerdict(PAIR),
    NetworkVerdict(PAIR, Link.FORWARDING, "net.ipv4.conf.lan0.forwarding is 0"),
)
NO_TUNNEL = NetworkVerdict(PAIR, Link.TUNNEL, "no tunnel carries its traffic")


def known(*verdicts: NetworkVerdict) -> Knowledge:
    made = Knowledge(config=make_config(), loaded_at=0.0)
    made.kernel.selected = {"hangzhou": ("primary",)}
    made.kernel.state = KernelState(
        objects=KernelObjects(), foreign_links=frozenset(), foreign_routes=frozenset(), counters={}
    )
    made.witness = Statement(verdicts=verdicts)
    return made


class Script:
    """Stands for `Eyes`: says one thing after the other."""

    def __init__(self, *said: Statement | NetlinkError) -> None:
        self._said = list(said)
        self.looks = 0

    async def facts(self) -> Facts:
        return Chain().facts

    async def statement(self, _config: object, _facts: Facts) -> Statement:
        self.looks += 1
        said = self._said.pop(0)
        if isinstance(said, NetlinkError):
            raise said
        return said


def looked(before: Knowledge, *said: Statement | NetlinkError) -> Script:
    async def look() -> Script:
        watch, script = Watch(before), Script(*said)
        vars(watch)["_eyes"] = script
        await watch.look()
        return script

    return asyncio.run(look())


def test_a_loss_is_looked_at_again_before_it_is_told() -> None:
    healed = known(CARRIED)
    assert looked(healed, Statement(verdicts=(LOST,)), Statement(verdicts=(CARRIED,))).looks == 2
    assert healed.witness.verdicts == (CARRIED,)
    lost = known(CARRIED)
    assert looked(lost, *[Statement(verdicts=(LOST,))] * 2).looks == 2
    assert lost.witness.verdicts == (LOST,)
    assert looked(lost, Statement(verdicts=(LOST,))).looks == 1


def test_a_network_without_a_tunnel_needs_no_second_look() -> None:
    assert not newly_broken((CARRIED,), (NO_TUNNEL,))
    assert newly_broken((), (LOST,))


def test_a_kernel_that_cannot_be_asked_is_told_and_no_network_is_judged() -> None:
    blind = known(CARRIED)
    looked(blind, NetlinkError("netlink", 0, "no answer within 5 s"))
    assert blind.witness.verdicts == ()
    assert [finding.code for finding in blind.witness.findings] == ["NotLookedAt"]


def test_before_the_first_round_nothing_is_said() -> None:
    early = Knowledge(config=make_config(), loaded_at=0.0)
    assert looked(early).looks == 0


def connection_of(knowledge: Knowledge) -> dict[str, Any]:
    told: dict[str, Any] = status(knowledge)["connections"][0]
    return told


def test_a_network_that_is_not_carried_takes_its_connection_down_whatever_the_tunnels_say() -> None:
    assert connection_of(known(CARRIED))["state"] == "degraded"  # its tunnels are not up here
    told = connection_of(known(LOST))
    assert told["state"] == "down"
    assert told["networks"][0] == {
        "local": "10.1.0.0/16",
        "remote": "100.64.0.0/10",
        "carried": False,
        "by": None,
        "reason": LOST.reason,
    }
    assert told["networks"][1]["carried"] is None


def test_a_route_that_is_not_installed_takes_its_connection_down() -> None:
    knowledge = known(CARRIED)
    knowledge.kernel.missing = frozenset({OSS})
    assert connection_of(knowledge)["state"] == "down"


def test_packets_that_surely_go_astray_leave_no_connection_up() -> None:
    assert state_of(["up", "up"], carried=True, whole=True) == "up"
    assert state_of(["up", "up"], carried=True, whole=False) == "degraded"
    in_part = replace(CARRIED, reason="not for ICMP: it leaves by eth0")
    assert connection_of(known(in_part))["networks"][0]["reason"] == in_part.reason


def test_a_network_that_is_configured_no_more_costs_nothing() -> None:
    knowledge = known(replace(LOST, pair=PAIR._replace(local=IPv4Network("10.9.0.0/16"))))
    assert connection_of(knowledge)["state"] == "degraded"


def test_the_metrics_say_it_too() -> None:
    said = {name: (labels, value) for name, labels, value in samples(known(LOST))}
    assert said["vpnagent_network_carried"] == (("hangzhou", "10.1.0.0/16", "100.64.0.0/10"), False)


def test_what_the_witness_finds_is_a_warning_of_status_and_counted_by_code() -> None:
    knowledge = known()
    chain = Chain()
    knowledge.witness = chain.change(forwarding={**chain.facts.forwarding, "lan0": False}).look()
    refresh(knowledge, at=0.0)
    assert ("SysctlHarmful", Severity.CRITICAL) in {(f.code, f.severity) for f in knowledge.findings.current}
    counted = {labels: value for name, labels, value in samples(knowledge) if name == "vpnagent_findings"}
    assert counted["SysctlHarmful", "critical"] == 1


def ruleset(hook: str, *rules: FilterRule, policy: RuleAction = RuleAction.ACCEPT) -> Ruleset:
    return Ruleset({"c": FilterChain(name="c", hook=hook, policy=policy, rules=rules)})


LAN0 = (Match("iifname", ("lan0",)),)
HTTPS = (Match("dport", ((443, 443),)),)
ADDRESSES = (Address(interface="lan0", address=Chain().facts.addresses[0][1]),)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (ruleset("forward", policy=RuleAction.DROP), Filtering(dropped="c: policy drop")),
        (
            ruleset("prerouting", FilterRule(LAN0, RuleAction.MARK, mark=(0, 7))),
            Filtering(marking=Marking((7,))),
        ),
        (
            ruleset(
                "prerouting", FilterRule((), RuleAction.MARK), FilterRule((), RuleAction.NOTHING, mark=(0, 9))
            ),
            Filtering(marking=Marking((9,), unclear=True)),
        ),
        (
            ruleset("forward", FilterRule(HTTPS, RuleAction.ACCEPT), policy=RuleAction.DROP),
            Filtering(),
        ),
    ],
)
def test_the_packet_filter_is_read_for_every_pair_and_only_what_is_sure_is_a_drop(
    rules: Ruleset, found: Filtering
) -> None:
    second = IPv4Network("10.2.0.0/16")
    config = make_config(gateway={"local_networks": (LOCAL, second)})
    machine = machine_of(config, Observation(firewall=rules, addresses=ADDRESSES))
    assert {pair[0] for pair in machine.filtering} == {LOCAL, second}
    assert machine.filtering[LOCAL, OSS] == found
    assert from_plain(json.loads(json.dumps(to_plain(machine)))) == machine


def test_what_is_not_a_machine_is_refused() -> None:
    for wrong in ({}, {"filtering": [[1]], "hosts": []}, {"filtering": [], "hosts": [["x", []]]}):
        with pytest.raises((ValueError, TypeError, KeyError)):
            from_plain(wrong)
