"""What the daemon tells keepalived, in a file, and the other gateway of the pair."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from tests.config_examples import make_config, make_pair
from tests.status.test_report import path

from vpnagent.config.values import Config, Device, TunnelKey
from vpnagent.daemon.pair import DOUBT, RELEASE, SETTLED, HealthTeller, PairTalk, digest_of
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.pair.health import PATIENCE
from vpnagent.pair.talk import SILENCE
from vpnagent.policy.selection import PathState


@pytest.fixture
def known(tmp_path: Path) -> Knowledge:
    config = make_config(
        gateway={"pair": make_pair(Device.A)}, agent={"control_socket": str(tmp_path / "control.sock")}
    )
    return Knowledge(config=config, loaded_at=0.0)


def test_a_charon_that_is_gone_is_told_and_so_is_its_return(known: Knowledge, tmp_path: Path) -> None:
    teller, file = HealthTeller(known), tmp_path / "pair.health"

    def told(now: float) -> str:
        teller.look(now)
        return file.read_text()

    assert told(0.0) == "0\n", "nothing is known before charon was asked: no reason to give up"
    known.charon.connected, known.charon.error = False, "nobody listens"
    assert [told(1.0), told(1.0 + PATIENCE / 2), told(1.0 + PATIENCE)] == ["0\n", "0\n", "-254\n"]
    known.charon.connected, known.charon.error = True, None
    assert told(9.0) == "0\n"


def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(
    known: Knowledge, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = replace(known.config.agent, control_socket=str(tmp_path / "taken" / "control.sock"))
    known.config = replace(known.config, agent=agent)
    (tmp_path / "taken").touch()
    teller = HealthTeller(known)
    teller.look(0.0)
    teller.look(1.0)
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["health-not-told"]
    (tmp_path / "taken").unlink()
    teller.look(2.0)
    assert (tmp_path / "taken" / "pair.health").read_text() == "0\n"


MOVES = IPv4Address("192.0.2.1")
PRIMARY = TunnelKey("hangzhou", "primary")


class Pair:
    """Two daemons that talk over the loopback interface, as of the time that is told."""

    def __init__(self, folder: Path) -> None:
        secret = folder / "pair.key"
        secret.touch(mode=0o600)
        secret.write_text("of-this-pair")
        self.known = [Knowledge(config=self.config(here, str(secret)), loaded_at=0.0) for here in Device]
        self.talks = [PairTalk(known) for known in self.known]

    def config(self, here: Device, secret_file: str) -> Config:
        made = make_pair(here)
        a = replace(made.a, address=IPv4Address("127.0.0.2"))
        b = replace(made.b, address=IPv4Address("127.0.0.3"))
        gateway = {"pair": replace(made, a=a, b=b, secret_file=secret_file), "name": f"rt-{here.value}"}
        return make_config(gateway=gateway, primary={"local_address": MOVES}, backup={"device": Device.B})

    def look(self, now: float) -> None:
        for talk in (*self.talks, *self.talks):  # what the second says the first hears, too
            talk.look(now)

    def codes(self) -> list[list[str]]:
        return [[finding.code for finding in known.pair_findings] for known in self.known]

    def close(self) -> None:
        for known, talk in zip(self.known, self.talks, strict=True):
            known.config = replace(known.config, gateway=replace(known.config.gateway, pair=None))
            talk.look(0.0)


def play(folder: Path, scene: Callable[[Pair, float], None]) -> Pair:
    """Play a scene, which begins at the time that it is told, on a loop that then runs for ``RELEASE``."""

    async def run() -> Pair:
        loop, pair = asyncio.get_running_loop(), Pair(folder)
        try:
            scene(pair, loop.time())
        finally:
            pair.close()
        return pair

    return asyncio.run(run())


def test_two_that_are_alike_and_hear_each_other_find_nothing(tmp_path: Path) -> None:
    def scene(pair: Pair, now: float) -> None:
        pair.look(now)
        pair.look(now + SILENCE - 1)
        assert pair.codes() == [[], []]
        pair.talks[0].look(now + 2 * SILENCE)
        assert pair.codes()[0] == ["PairPeerSilent"]

    play(tmp_path, scene)


def test_a_difference_and_a_split_brain_are_seen_by_both(tmp_path: Path) -> None:
    def scene(pair: Pair, now: float) -> None:
        pair.known[0].config = replace(pair.known[0].config, connections=())
        pair.look(now)
        pair.look(now + 1)  # what the first said at first, the second did not listen to yet
        assert pair.codes() == [["PairConfigDiffers"]] * 2
        pair.known[0].config = pair.config(Device.A, pair.known[1].config.gateway.pair.secret_file)  # type: ignore[union-attr,arg-type]
        for known in pair.known:
            known.take_addresses(frozenset({MOVES}))
        pair.look(now + 2)
        pair.look(now + 3)
        assert pair.codes() == [["SplitBrain"]] * 2

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("after", "state", "anew"),
    [
        (SETTLED, PathState.DOWN, True),
        (SETTLED, PathState.UP, False),  # the cloud has stayed with us
        (SETTLED, PathState.HOLD_DOWN, False),
        (SETTLED / 2, PathState.DOWN, False),  # a mere move from the other to us
    ],
)
def test_what_both_had_is_negotiated_anew_by_the_one_that_keeps_it(
    tmp_path: Path, after: float, state: PathState, anew: bool
) -> None:
    def scene(pair: Pair, now: float) -> None:
        ours, its = pair.known
        for known in pair.known:
            known.take_addresses(frozenset({MOVES}))
        ours.probe.paths = {PRIMARY: path(PRIMARY, state)}
        pair.look(now)
        its.take_addresses(frozenset())
        ours.charon_dirty.clear()
        pair.look(now + after)
        assert (PRIMARY in ours.standby()) is anew
        assert ours.charon_dirty.is_set() is anew
        ours.probe.paths = {PRIMARY: path(PRIMARY, PathState.DOWN)}
        pair.look(now + after + DOUBT / 2)  # the probes see only now that nothing comes back
        assert (PRIMARY in ours.standby()) is (after == SETTLED)

    play(tmp_path, scene)


def test_what_is_let_go_comes_back_by_itself(tmp_path: Path) -> None:
    async def run() -> None:
        pair = Pair(tmp_path)
        ours, its = pair.known
        for known in pair.known:
            known.take_addresses(frozenset({MOVES}))
        pair.look(0.0)
        its.take_addresses(frozenset())
        pair.look(SETTLED)
        assert PRIMARY in ours.standby()
        async with asyncio.timeout(10 * RELEASE):
            while PRIMARY in ours.standby():
                ours.charon_dirty.clear()
                await ours.charon_dirty.wait()
        pair.close()

    asyncio.run(run())


def test_the_digest_is_of_what_must_be_the_same_on_both(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    of_a, of_b = (known.config for known in pair.known)
    assert digest_of(of_a) == digest_of(of_b)
    assert digest_of(replace(of_a, agent=replace(of_a.agent, control_socket="/elsewhere"))) == digest_of(of_a)
    assert digest_of(replace(of_a, connections=())) != digest_of(of_a)


def test_a_tunnel_that_comes_again_begins_without_a_past(tmp_path: Path) -> None:
    known = Pair(tmp_path).known[0]
    known.take_addresses(frozenset({MOVES}))
    known.probe.paths = {PRIMARY: path(PRIMARY, PathState.DOWN, held=True)}
    known.forget_paths_elsewhere()
    assert PRIMARY in known.probe.paths
    known.release(frozenset({MOVES}))
    known.forget_paths_elsewhere()
    assert known.probe.paths == {}
