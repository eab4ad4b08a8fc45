"""Look-ups of ours against ``ip route get``, and the rule that is named against the kernel's own choice."""

import asyncio
import json
import os
from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab.namespace import Namespace, namespace

from vpnagent.netlink.socket import NETLINK_ROUTE, NetlinkSocket
from vpnagent.routing.ways import PLAIN, Flow
from vpnagent.witness.look import Eyes
from vpnagent.witness.questions import deciding
from vpnagent.witness.values import Answer, Facts, Question

if os.geteuid() != 0:
    pytest.skip("network namespaces need root: ./dev test runs these", allow_module_level=True)

HOST, CLOUD = IPv4Address("10.1.0.10"), IPv4Address("100.64.0.1")
TABLES = (100, 101, 102)
SELECTORS = (
    "from 10.1.0.0/16",
    "to 100.64.0.0/10",
    "iif lan0",
    "fwmark 1",
    "fwmark 2/0x3",
    "ipproto icmp",
    "ipproto tcp dport 443",
    "from 10.2.0.0/16",
    "not fwmark 1",
    "not from 10.1.0.0/16",
    "not iif lan0",
)


@pytest.fixture(scope="module")
def there() -> Iterator[Namespace]:
    with namespace("look-up") as made:
        for name, address in (
            ("lan0", "10.1.0.1/16"),
            ("eth0", "192.0.2.2/24"),
            ("t0", ""),
            ("t1", ""),
            ("t2", ""),
        ):
            made.ip(f"link add {name} type veth peer name p-{name}")
            made.ip(f"link set {name} up")
            made.ip(f"link set p-{name} up")
            if address:
                made.ip(f"address add {address} dev {name}")
        made.run("sysctl -qw net.ipv4.ip_forward=1")
        for key in ("all", "lan0", "default"):
            made.run(f"sysctl -qw net.ipv4.conf.{key}.rp_filter=0")
        made.ip("route add default via 192.0.2.1")
        made.ip("route add 100.64.0.0/10 dev t0")
        for number, table in enumerate(TABLES):
            made.ip(f"route add default dev t{number} table {table}")
        yield made


def asked(there: Namespace, *questions: Question) -> tuple[Facts, list[Answer]]:
    async def ask() -> tuple[Facts, list[Answer]]:
        route = NetlinkSocket(NETLINK_ROUTE)
        eyes = Eyes(route)
        try:
            facts = await eyes.facts()
            return facts, await eyes.ask(await eyes.batch(questions))
        finally:
            route.close()

    with there.entered():
        return asyncio.run(ask())


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (Question(CLOUD), ""),
        (Question(CLOUD, HOST, "lan0"), "from 10.1.0.10 iif lan0"),
        (Question(IPv4Address("192.0.2.77")), ""),
        (Question(IPv4Address("8.8.8.8"), IPv4Address("10.1.0.1")), "from 10.1.0.1"),
    ],
)
def test_a_look_up_is_what_ip_says(there: Namespace, question: Question, words: str) -> None:
    [told] = json.loads(there.run(f"ip -j route get {question.destination} {words}"))
    _, [answer] = asked(there, question)
    assert (answer.errno, answer.interface) == (0, told["dev"])


def test_many_are_answered_in_the_order_in_which_they_were_asked(there: Namespace) -> None:
    questions = [Question(IPv4Address("100.64.0.0") + n, entry=bool(n % 2)) for n in range(1, 200)]
    questions[50] = Question(IPv4Address("10.1.0.1"))
    questions[60] = Question(CLOUD, IPv4Address("10.1.0.1"), "lan0")  # our own source, from outside
    _, answers = asked(there, *questions)
    assert answers[50].local
    assert answers[60].errno
    others = [answer for n, answer in enumerate(answers) if n not in (50, 60)]
    assert {answer.interface for answer in others} == {"t0"}
    assert {answer.length for answer in answers[1:50:2]} == {32}
    assert {answer.length for answer in answers[0:50:2]} == {10}


def test_an_interface_that_does_not_forward_and_one_that_does_are_told_apart(there: Namespace) -> None:
    there.run("sysctl -qw net.ipv4.conf.lan0.forwarding=0")
    facts, [answer] = asked(there, Question(CLOUD, HOST, "lan0"))
    there.run("sysctl -qw net.ipv4.conf.lan0.forwarding=1")
    assert (facts.forwarding["lan0"], facts.forwarding["t0"]) == (False, True)
    assert answer.errno == 113  # EHOSTUNREACH


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SELECTORS), st.sampled_from(TABLES)), max_size=4),
    st.sampled_from(
        [PLAIN, Flow(mark=1), Flow(mark=2), Flow(protocol=1), Flow(protocol=6, destination_port=443)]
    ),
    st.booleans(),
)
def test_the_rule_that_is_named_is_the_first_that_the_kernel_follows(
    there: Namespace, rules: list[tuple[str, int]], flow: Flow, forwarded: bool
) -> None:
    """Each table has a way of its own, so that the interface says which the kernel took."""
    there.ip("".join(f"rule add priority {100 + n} {what} lookup {t}\n" for n, (what, t) in enumerate(rules)))
    try:
        source, incoming = (HOST, "lan0") if forwarded else (IPv4Address("10.1.0.1"), "")
        question = Question(CLOUD, source, incoming, flow)
        facts, [answer] = asked(there, question)
        found = deciding(facts.rules, question, answer)
        by_kernel = {f"t{n}": table for n, table in enumerate(TABLES)}[answer.interface]
        if found is None:
            assert answer.table == 254
        else:
            assert (found.table, by_kernel) == (answer.table, answer.table)
            assert rules[found.priority - 100][1] == found.table
    finally:
        there.ip("".join(f"rule delete priority {100 + n}\n" for n in range(len(rules))))
