"""What the leak guard is asked to let pass: never less than what works at any moment of a change."""

from dataclasses import replace
from ipaddress import IPv4Network

from tests.config_examples import make_config
from tests.routing.kernel_states import link, objects

from vpnagent.config.values import Config, LeakGuard
from vpnagent.finding import Severity
from vpnagent.knowledge.counters import LATELY, Stopped, leaks
from vpnagent.policy.desired import desired
from vpnagent.policy.walls import leak_guard, walled
from vpnagent.routing import objects as kernel
from vpnagent.routing.objects import KernelObjects, LocalWays

LAN = LocalWays(frozenset({"lan0"}), frozenset({"eth0"}))
NO_LAN = LocalWays(frozenset(), frozenset({"eth0"}))
NOTHING = KernelObjects()


def config(
    *, guard: LeakGuard = LeakGuard.DROP, local: tuple[str, ...] = (), exits: tuple[str, ...] = ()
) -> Config:
    made = make_config()
    [connection] = made.connections
    return replace(
        made,
        gateway=replace(made.gateway, local_interfaces=local),
        agent=replace(made.agent, leak_guard=guard),
        connections=(replace(connection, exits=exits),),
    )


def guard_of(want: KernelObjects) -> kernel.LeakGuardRules:
    assert want.filter_table
    assert want.filter_table.guard
    return want.filter_table.guard


def want(conf: Config, have: KernelObjects = NOTHING, ways: LocalWays = LAN) -> kernel.LeakGuardRules:
    return guard_of(walled(desired(conf, {}).kernel, have, ways))


def test_it_knows_the_tunnels_and_the_networks_of_the_configuration() -> None:
    made = leak_guard(config())
    assert made
    assert made.drops
    assert made.tunnels == ("vpn-hz-1", "vpn-hz-2")
    assert made.networks == (IPv4Network("100.64.0.0/10"), IPv4Network("172.16.0.0/16"))


def test_counting_only_and_switched_off() -> None:
    counting = leak_guard(config(guard=LeakGuard.COUNT))
    assert counting
    assert not counting.drops
    assert leak_guard(config(guard=LeakGuard.OFF)) is None
    kept = desired(config(guard=LeakGuard.OFF), {}).kernel
    assert walled(kept, NOTHING, LAN) == kept


def test_networks_within_and_beside_each_other_are_one() -> None:
    made = config()
    [connection] = made.connections
    parts = tuple(map(IPv4Network, ("100.96.0.0/11", "100.100.0.0/16", "100.64.0.0/11")))
    joined = leak_guard(replace(made, connections=(replace(connection, remote_networks=parts),)))
    assert joined
    assert joined.networks == (IPv4Network("100.64.0.0/10"),)


def test_an_exit_is_for_the_networks_of_its_connections() -> None:
    made = config(exits=("eth3",))
    [connection] = made.connections
    other = replace(connection, name="b", exits=(), remote_networks=(IPv4Network("192.168.0.0/24"),))
    guard = leak_guard(replace(made, connections=(connection, other)))
    assert guard
    assert guard.exits == (("eth3", connection.remote_networks),)


def test_a_tunnel_that_is_configured_no_more_is_one_while_it_is_there() -> None:
    assert want(config(), objects(link("vpn-old", 7))).tunnels == ("vpn-hz-1", "vpn-hz-2", "vpn-old")
    assert want(config()).tunnels == ("vpn-hz-1", "vpn-hz-2")


def test_the_local_side_is_what_is_configured_or_where_the_kernel_goes() -> None:
    assert want(config(local=("bond0", "lan7"))).local_side == ("bond0", "lan7")
    assert want(config()).local_side == ("lan0",)
    assert not want(config()).local_by_default


def test_a_tunnel_is_never_the_local_side() -> None:
    ways = LocalWays(frozenset({"lan0", "vpn-hz-1"}), frozenset({"vpn-hz-2"}))
    assert want(config(), ways=ways).local_side == ("lan0",)


def test_a_lan_that_goes_without_a_trace_does_not_open_the_default_route() -> None:
    before = walled(desired(config(), {}).kernel, NOTHING, LAN)
    assert want(config(), before, NO_LAN).local_side == ("lan0",)


def test_who_never_had_a_lan_of_its_own_reaches_it_by_the_default_route() -> None:
    first = walled(desired(config(), {}).kernel, NOTHING, NO_LAN)
    assert guard_of(first).local_side == ("eth0",)
    assert guard_of(first).local_by_default
    moved = NO_LAN._replace(default_interfaces=frozenset({"eth1"}))
    assert want(config(), first, moved).local_side == ("eth1",)
    assert want(config(), first, LAN).local_side == ("lan0",)


def test_where_nothing_is_known_nothing_is_stopped_inward() -> None:
    assert want(config(), ways=LocalWays()).local_side is None


def test_what_is_stopped_is_told_for_some_minutes() -> None:
    stopped = Stopped()
    stopped.update({"out": 7, "in": 0}, 0.0)
    assert [*leaks(config(), stopped)] == []  # it was counted before our time
    stopped.update({"out": 9, "in": 0}, 1.0)
    [finding] = leaks(config(), stopped)
    assert (finding.code, finding.subject, finding.severity) == ("ClearTextStopped", "out", Severity.CRITICAL)
    assert finding.text == (
        "packets for remote networks that would leave in clear, by an interface that is no tunnel: "
        "2 stopped in the last 5 minutes"
    )
    stopped.update({"out": 9, "in": 0}, 1.0 + LATELY)
    assert [*leaks(config(), stopped)] == []
    assert stopped.of("out") == 9


def test_a_guard_that_only_counts_does_not_say_that_it_stopped_anything() -> None:
    stopped = Stopped()
    stopped.update({"in": 0}, 0.0)
    stopped.update({"in": 1}, 1.0)
    [finding] = leaks(config(guard=LeakGuard.COUNT), stopped)
    assert finding.text.endswith(": 1 let pass in the last 5 minutes")


def test_counters_that_begin_anew_go_on() -> None:
    stopped = Stopped()
    for at, count in enumerate((5, 9, 2, 2, 3)):
        stopped.update({"out": count}, at)
    assert stopped.of("out") == 12
