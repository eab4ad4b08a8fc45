"""Which ip rule decided, and which packets have to be asked for."""

import errno
from ipaddress import IPv4Address, IPv4Network

import pytest
from tests.witness.chains import PLAIN_RULES, rule

from vpnagent.routing.fib import FIB_RULE_INVERT, FibRule
from vpnagent.routing.ways import Flow
from vpnagent.witness.questions import deciding, flows, matches, unasked
from vpnagent.witness.values import Answer, Question

HOST, OSS = IPv4Address("10.1.0.10"), IPv4Address("100.64.0.1")
ASKED = Question(OSS, HOST, "lan0")
LAN = IPv4Network("10.1.0.0/16")
ALL_BITS = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("found", "holds"),
    [
        (rule(), True),
        (rule(source=LAN), True),
        (rule(source=IPv4Network("10.2.0.0/16")), False),
        (rule(destination=IPv4Network("100.64.0.0/10")), True),
        (rule(destination=LAN), False),
        (rule(incoming="lan0"), True),
        (rule(incoming="lan1"), False),
        (rule(mark=1, mask=ALL_BITS), False),
        (rule(mark=0, mask=0xFF), True),
        (rule(ip_protocol=1), False),
        (rule(tos=4), False),
        (rule(destination_ports=(443, 443)), False),
        (rule(of_devices=True), False),
    ],
)
def test_a_rule_is_for_what_all_its_selectors_are_about_and_inverted_for_the_rest(
    found: FibRule, holds: bool
) -> None:
    assert matches(found, ASKED) is holds
    inverted = rule(**{name: getattr(found, name) for name in CHANGED}, flags=FIB_RULE_INVERT)
    assert matches(inverted, ASKED) is not holds


CHANGED = (
    *("source", "destination", "incoming", "mark", "mask", "ip_protocol", "tos", "destination_ports"),
    "of_devices",
)


def test_the_rule_whose_table_answered_decided() -> None:
    first, second = rule(source=IPv4Network("10.9.0.0/16")), rule(incoming="lan0")
    rules = (*PLAIN_RULES, first, second)
    assert deciding(rules, ASKED, Answer(interface="eth0", table=100)) == second
    assert deciding(rules, ASKED, Answer(interface="eth0", table=254)) is None


@pytest.mark.parametrize(("action", "code"), [(6, errno.EINVAL), (7, errno.ENETUNREACH), (8, errno.EACCES)])
def test_the_rule_that_refuses_decided(action: int, code: int) -> None:
    refusing = FibRule(
        priority=50,
        source=LAN,
        destination=IPv4Network("0.0.0.0/0"),
        incoming="",
        table=0,
        action=action,
        suppressed_length=-1,
        protocol=0,
    )
    assert deciding((*PLAIN_RULES, refusing), ASKED, Answer(errno=code)) == refusing
    assert deciding((*PLAIN_RULES, refusing), ASKED, Answer(errno=errno.EHOSTUNREACH)) is None


def test_what_rules_ask_for_is_asked_and_marks_of_the_filter_only_where_a_rule_asks_for_marks() -> None:
    assert flows(PLAIN_RULES, {7}) == []
    assert flows((rule(ip_protocol=1),), {7}) == [Flow(protocol=1)]
    assert flows((rule(mark=0x1FF, mask=0xFF),), {7}) == [Flow(mark=0xFF), Flow(mark=7)]
    assert flows((rule(destination_ports=(443, 450)),), ()) == [Flow(protocol=6, destination_port=443)]


def test_rules_of_ours_and_of_vrfs_are_not_looked_up_and_obscure_ones_are_told() -> None:
    ours, vrf, user = rule(mark=1, mask=1, protocol=86), rule(of_devices=True), rule(obscure=True)
    esp = rule(ip_protocol=50)
    assert flows((ours, vrf, user, esp), ()) == []
    assert [*unasked((*PLAIN_RULES, ours, vrf, user, esp))] == [user, esp]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            rule(mark=0xCA6C, mask=ALL_BITS, flags=FIB_RULE_INVERT),
            "100: not from all fwmark 0xca6c lookup 100",
        ),
        (rule(mark=1, mask=0xFF, source=LAN), "100: from 10.1.0.0/16 fwmark 0x1/0xff lookup 100"),
        (rule(ip_protocol=6, destination_ports=(80, 90)), "100: from all ipproto 6 dport 80-90 lookup 100"),
    ],
)
def test_a_rule_is_written_as_ip_writes_it(found: FibRule, text: str) -> None:
    assert str(found) == text
