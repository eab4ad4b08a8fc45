"""What the reconciler makes of charon, on the fake that is checked against the real one."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from tests.config_examples import make_config, make_pair
from tests.fake_charon import FakeCharon
from tests.ipsec.charon_contract import until

from vpnagent.config.values import Config, Device, TunnelKey
from vpnagent.daemon.charon import GRACE, CharonReconciler
from vpnagent.ipsec.sa import CharonState, LogLine, Rekeyed, ViciEvent
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.secret import Secret

PRIMARY = TunnelKey("hangzhou", "primary")
BACKUP = TunnelKey("hangzhou", "backup")


class World:
    """charon, the reconciler's task, and a clock that only moves when told."""

    def __init__(self, config: Config) -> None:
        self.now = 1000.0
        self.known = Knowledge(config=config, loaded_at=0.0)
        self.charon = FakeCharon()
        self.tell: Callable[[ViciEvent], None] = lambda _event: None
        self.reconciler = CharonReconciler(self.known, self._make, clock=lambda: self.now)

    def _make(self, on_event: Callable[[ViciEvent], None]) -> FakeCharon:
        self.tell = on_event
        self.charon = FakeCharon(on_event=on_event)
        return self.charon

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.known.charon_dirty.set()
                await asyncio.sleep(0.005)

    async def lose_primary(self) -> None:
        sas = (await self.charon.observe()).sas
        self.charon.lose(next(sa.unique_id for sa in sas if sa.connection == PRIMARY.owner))

    def up(self) -> set[str]:
        return {key.tunnel for key, v in self.known.verdicts().items() if v.child_sa_installed}


def play(scene: Callable[[World], "asyncio.Future[None] | object"], config: Config | None = None) -> World:
    """Run the reconciler beside a scene."""

    async def run() -> World:
        world = World(config or make_config())
        task = asyncio.get_running_loop().create_task(world.reconciler.run())
        try:
            await scene(world)  # type: ignore[misc]
        finally:
            task.cancel()
            await asyncio.wait([task])
        return world

    return asyncio.run(run())


async def both_up(world: World) -> None:
    await world.until(lambda: world.up() == {"primary", "backup"})


def test_both_tunnels_are_loaded_and_initiated() -> None:
    world = play(both_up)
    assert world.charon.log.count("initiate vpnagent.hangzhou.primary child primary") == 1
    assert world.known.charon.version == "5.9.8"


def test_a_second_round_has_nothing_to_do() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        before = list(world.charon.log)
        world.reconciler.converged.clear()
        await world.until(world.reconciler.converged.is_set)
        assert world.charon.log == before

    play(scene)


def test_a_round_about_an_older_configuration_does_not_count_as_converged() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        await world.until(world.reconciler.converged.is_set)
        observe, observing = world.charon.observe, asyncio.Event()

        async def observe_late() -> CharonState:
            observing.set()
            await asyncio.sleep(0)
            return await observe()

        world.charon.observe = observe_late  # type: ignore[method-assign]
        world.known.charon_dirty.set()
        await observing.wait()
        world.known.config = replace(world.known.config, connections=())  # down, while the round waits
        world.reconciler.converged.clear()
        await world.until(world.reconciler.converged.is_set)
        assert (await observe()).connections == frozenset()

    play(scene)


def test_a_lost_child_sa_is_noticed_and_the_kernel_woken() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.known.kernel_dirty.clear()
        world.charon.be_silent(PRIMARY)
        await world.lose_primary()
        await world.until(lambda: world.up() == {"backup"})
        assert world.known.kernel_dirty.is_set()

    play(scene)


def test_the_end_of_a_tunnel_that_is_configured_no_more_wakes_the_kernel() -> None:
    """The way to its peer has waited for that."""

    async def scene(world: World) -> None:
        await both_up(world)
        observe = world.charon.observe

        async def observe_the_end() -> CharonState:
            state = await observe()
            if not state.sas:
                world.known.kernel_dirty.clear()
            return state

        world.charon.observe = observe_the_end  # type: ignore[method-assign]
        world.known.config = replace(world.known.config, connections=())
        await world.until(lambda: world.known.charon.state is not None and not world.known.charon.state.sas)
        assert world.known.kernel_dirty.is_set()

    play(scene)


def test_a_child_sa_that_is_not_seen_once_is_not_lost() -> None:
    """While an IKE_SA is rekeyed its CHILD_SAs may be listed under neither."""

    async def scene(world: World) -> None:
        await both_up(world)
        observe, looks = world.charon.observe, 0

        async def observe_between() -> CharonState:
            nonlocal looks
            looks += 1
            state = await observe()
            return replace(state, sas=()) if looks == 1 else state

        log = list(world.charon.log)
        world.known.kernel_dirty.clear()
        world.charon.observe = observe_between  # type: ignore[method-assign]
        await world.until(lambda: looks > 2)
        assert world.up() == {"primary", "backup"}
        assert not world.known.kernel_dirty.is_set()
        assert world.charon.log == log

    play(scene)


def test_a_child_sa_that_stays_away_is_lost_without_a_word_too() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        observe = world.charon.observe

        async def observe_without() -> CharonState:
            state = await observe()
            return replace(state, sas=tuple(sa for sa in state.sas if sa.connection != PRIMARY.owner))

        world.charon.observe = observe_without  # type: ignore[method-assign]
        await world.until(lambda: world.up() == {"backup"})

    play(scene)


def test_what_was_lost_is_initiated_again() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.charon.advance(60)
        world.now += 60
        await world.lose_primary()
        await world.until(
            lambda: world.charon.log.count("initiate vpnagent.hangzhou.primary child primary") == 2
        )
        await both_up(world)

    play(scene)


def test_a_restarted_charon_gets_everything_again_and_no_traffic_moves_meanwhile() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.charon.be_silent(PRIMARY)
        world.charon.restart()
        await world.until(lambda: len(world.charon.everything()[0]) == 2 and world.known.charon.connected)
        assert world.up() == {"primary", "backup"}
        world.now += GRACE + 1
        await world.until(lambda: world.up() == {"backup"})

    play(scene)


def test_a_charon_that_is_gone_leaves_the_verdicts_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.charon.die()
        await world.until(lambda: world.known.charon.error is not None)
        assert not world.known.charon.connected
        assert world.up() == {"primary", "backup"}
        await asyncio.sleep(0.4)  # some attempts to connect

    play(scene)
    assert caplog.text.count("charon-unreachable") <= 2


def test_a_refused_connection_is_a_finding_and_the_other_comes_up() -> None:
    async def scene(world: World) -> None:
        world.charon.refuse("load-conn", "invalid value for: proposals, config discarded")
        await world.until(lambda: world.up() == {"backup"})
        [finding] = world.known.charon.findings
        assert (finding.code, finding.subject) == ("CharonRefused", PRIMARY.owner)
        world.now += 31
        await both_up(world)
        await world.until(lambda: not world.known.charon.findings)

    play(scene)


def test_an_algorithm_that_charon_lacks_is_a_finding_and_nothing_is_loaded() -> None:
    config = make_config()
    ike = config.connections[0].ike

    async def scene(world: World) -> None:
        await world.until(lambda: bool(world.known.charon.findings))
        assert {f.code for f in world.known.charon.findings} == {"AlgorithmMissing"}
        assert world.charon.everything()[0] == set()

    play(scene, make_config(connection={"ike": replace(ike, encryption="aes256gcm16", integrity="sha512")}))


def test_a_tunnel_whose_interface_cannot_be_made_is_not_negotiated_until_it_can() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.known.kernel.without_interface = frozenset({PRIMARY})
        await world.until(lambda: world.charon.everything()[0] == {BACKUP.owner})
        await world.until(lambda: world.up() == {"backup"})
        world.known.kernel.without_interface = frozenset()
        await both_up(world)

    play(scene)


def test_a_tunnel_is_negotiated_when_its_address_comes_and_forgotten_when_it_goes() -> None:
    address = IPv4Address("192.0.2.1")

    async def scene(world: World) -> None:
        await world.until(lambda: world.up() == {"backup"})
        assert "load-conn vpnagent.hangzhou.primary" in world.charon.log, "loaded, to be as fast as can be"
        assert not any("initiate vpnagent.hangzhou.primary" in line for line in world.charon.log)
        world.known.charon_dirty.clear()
        world.known.take_addresses(frozenset({address}))
        assert world.known.charon_dirty.is_set()
        await both_up(world)
        world.known.take_addresses(frozenset())
        assert world.up() == {"backup"}, "no packet goes into it from this moment"
        await until(world.charon, lambda state: {sa.connection for sa in state.sas} == {BACKUP.owner})
        assert not any("unload" in line for line in world.charon.log)

    config = make_config(
        gateway={"pair": make_pair(Device.A)},
        primary={"local_address": address},
        backup={"device": Device.A},
    )
    play(scene, config)


def test_what_is_no_longer_configured_is_removed_and_the_operators_own_stays() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.charon.load_foreign("operators-own")
        world.known.config = Config(
            gateway=world.known.config.gateway, agent=world.known.config.agent, connections=()
        )
        await world.until(lambda: world.charon.everything()[0] == {"operators-own"})
        await world.until(lambda: len(world.charon.everything()[2]) == 1)

    play(scene)


def test_a_failed_negotiation_is_counted_and_its_reason_told_until_the_tunnel_is_up() -> None:
    async def scene(world: World) -> None:
        world.charon.reject(PRIMARY)
        await world.until(lambda: world.up() == {"backup"})
        world.tell(
            LogLine(connection=PRIMARY.owner, ike_sa="1", text="received AUTHENTICATION_FAILED notify error")
        )
        known = world.known.charon
        assert known.negotiation_failures == {(PRIMARY, "PskMismatch"): 1}
        assert str(known.failures[PRIMARY]).startswith("PskMismatch: ")
        world.charon.answer(PRIMARY)
        world.now += 120
        await both_up(world)
        await world.until(lambda: not known.failures)

    play(scene)


def test_a_rekeying_that_fails_is_told_while_the_old_sa_carries_and_until_one_succeeds() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        text = "received NO_PROPOSAL_CHOSEN notify, no CHILD_SA built"
        world.tell(LogLine(connection=PRIMARY.owner, ike_sa="1", text=text))
        world.reconciler.converged.clear()
        await world.until(world.reconciler.converged.is_set)
        assert world.up() == {"primary", "backup"}
        assert world.known.charon.failures.keys() == {PRIMARY}
        world.tell(Rekeyed(connection=PRIMARY.owner, child="primary", new="77"))
        assert not world.known.charon.failures

    play(scene)


def test_changed_settings_are_not_blamed_for_what_failed_before() -> None:
    config = make_config()
    ike = config.connections[0].ike

    async def scene(world: World) -> None:
        world.charon.reject(PRIMARY)
        await world.until(lambda: world.up() == {"backup"})
        text = "received AUTHENTICATION_FAILED notify error"
        world.tell(LogLine(connection=PRIMARY.owner, ike_sa="1", text=text))
        assert world.known.charon.failures
        world.known.config = make_config(connection={"ike": replace(ike, dh_group=14)})
        await world.until(lambda: not world.known.charon.failures)

    play(scene, config)


def test_a_deletion_by_the_peer_is_the_reason_for_being_down() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        for text in (
            "parsed INFORMATIONAL request 0 [ D ]",
            f"received DELETE for IKE_SA {PRIMARY.owner}[1]",
        ):
            world.tell(LogLine(connection=PRIMARY.owner, ike_sa="1", text=text))
        assert not world.known.charon.failures
        world.charon.be_silent(PRIMARY)
        await world.lose_primary()
        await world.until(lambda: world.up() == {"backup"})
        assert world.known.charon.failures[PRIMARY].reason.value == "ReceiveDeleteNotify"
        assert world.known.charon.negotiation_failures == {(PRIMARY, "ReceiveDeleteNotify"): 1}

    play(scene)


def test_rekeys_are_counted_by_tunnel() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        world.tell(Rekeyed(connection=PRIMARY.owner, child="primary", new="77"))
        world.tell(Rekeyed(connection="operators-own", child="x", new="78"))
        assert world.known.charon.rekeys == {PRIMARY: 1}

    play(scene)


# a tunnel under another name


def renamed(config: Config, **changes: object) -> Config:
    """Return the configuration with the primary under another name, and perhaps other settings."""
    [connection] = config.connections
    primary, backup = connection.tunnels
    spare = replace(primary, key=TunnelKey("hangzhou", "spare"), **changes)  # type: ignore[arg-type]
    return replace(config, connections=(replace(connection, tunnels=(spare, backup)),))


async def rename(world: World, **changes: object) -> None:
    await both_up(world)
    await world.until(world.reconciler.converged.is_set)
    world.known.config = renamed(world.known.config, **changes)
    world.reconciler.converged.clear()
    await world.until(world.reconciler.converged.is_set)


def test_a_tunnel_under_another_name_keeps_its_sas() -> None:
    async def scene(world: World) -> None:
        await rename(world)
        before = (await world.charon.observe()).sas
        assert world.up() == {"spare", "backup"}
        assert not [
            line
            for line in world.charon.log
            if "terminate" in line or "initiate vpnagent.hangzhou.spare" in line
        ]
        assert world.known.charon.former == {TunnelKey("hangzhou", "spare"): PRIMARY.owner}
        world.tell(Rekeyed(connection=PRIMARY.owner, child="primary", new="7"))
        assert world.known.charon.rekeys == {TunnelKey("hangzhou", "spare"): 1}
        assert (await world.charon.observe()).connections == {BACKUP.owner, "vpnagent.hangzhou.spare"}
        assert (await world.charon.observe()).sas == before

    play(scene)


def test_a_tunnel_that_is_renamed_while_charon_is_observed_is_never_down() -> None:
    async def scene(world: World) -> None:
        await both_up(world)
        await world.until(world.reconciler.converged.is_set)
        observe, observing, go_on = world.charon.observe, asyncio.Event(), asyncio.Event()
        seen: list[set[str]] = []  #: what the round before has made of it

        async def observe_late() -> CharonState:
            seen.append(world.up())
            state = await observe()
            observing.set()
            await go_on.wait()
            return state

        world.charon.observe = observe_late  # type: ignore[method-assign]
        world.known.charon_dirty.set()
        await observing.wait()
        world.known.config = renamed(world.known.config)
        go_on.set()
        await world.until(lambda: len(seen) > 3)
        assert seen[1:3] == [{"spare", "backup"}] * 2

    play(scene)


def test_a_renamed_tunnel_that_lost_its_sas_is_negotiated_under_its_name() -> None:
    async def scene(world: World) -> None:
        await rename(world)
        await world.lose_primary()
        await world.until(lambda: not world.known.charon.former and world.up() == {"spare", "backup"})
        assert "initiate vpnagent.hangzhou.spare child spare" in world.charon.log

    play(scene)


def test_a_renamed_tunnel_with_another_key_is_renegotiated() -> None:
    async def scene(world: World) -> None:
        await rename(world, psk=Secret(b"another"))
        await world.until(lambda: not world.known.charon.former and world.up() == {"spare", "backup"})

    play(scene)
