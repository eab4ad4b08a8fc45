"""The adapter, the plan and the initiation against two real charons (charon_pair.py)."""

import asyncio
import grp
import os
import pathlib
import random
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
from tests.ipsec.charon_contract import bring_up, carries, load, until
from tests.ipsec.connections import by_name, make_esp, make_ike
from tests.native.charon_pair import Host, charon_pair, connection

from vpnagent.config.values import CertificateFiles, TunnelKey
from vpnagent.daemon.charon import CONFIRM
from vpnagent.errors import ViciUnavailableError
from vpnagent.ipsec import messages, vici
from vpnagent.ipsec.actions import CharonConnection, LoadConnection, Terminate, UnloadConnection, UnloadSecret
from vpnagent.ipsec.charon import Charon
from vpnagent.ipsec.failure_reason import Reason
from vpnagent.ipsec.initiation import Initiate, Initiation, given_up
from vpnagent.ipsec.negotiation_failure import Diagnosis, NegotiationFailed
from vpnagent.ipsec.plan import DUPLICATE_AGE, CarriedTraffic, LoadedConnections, plan, without_superseded
from vpnagent.ipsec.sa import CharonState, ChildUpDown, ConnectionLost, IkeSa, LogLine, Rekeyed, ViciEvent
from vpnagent.secret import Secret

if os.geteuid() != 0:
    pytest.skip("real charons need root: ./dev test runs these", allow_module_level=True)

NOBODY = 65534
Holds = Callable[[CharonState], bool]

SETTLED = 2 * DUPLICATE_AGE + 5.0  #: seconds: two duplicates come down to one


class Agent:
    """The daemon in miniature: one charon, one desired connection, and what it has been told."""

    def __init__(
        self, host: Host, desired: CharonConnection | None, *, deadline: float = vici.DEADLINE
    ) -> None:
        self.charon = Charon(host.vici, on_event=self._on_event, deadline=deadline)
        self.desired = by_name(*([desired] if desired else []))
        self.events: list[ViciEvent] = []
        self.failures: list[NegotiationFailed] = []
        self._told = asyncio.Event()
        self._loaded = LoadedConnections()
        self._initiation = Initiation(random=random.random)
        self._diagnosis = Diagnosis()
        for name, wanted in self.desired.items():
            self._diagnosis.expect(name, wanted.remote_address, wanted.ike.version)

    def _on_event(self, event: ViciEvent) -> None:
        self.events.append(event)
        self._told.set()
        if isinstance(event, LogLine) and (failed := self._diagnosis.heard(event)):
            self.failures.append(failed)

    async def connect(self) -> None:
        await self.charon.connect()
        self._loaded = LoadedConnections()

    async def round(self) -> CharonState:
        """Observe, plan, apply, initiate."""
        state = await self.charon.observe()
        self._loaded = self._loaded.observed(state)
        actions = plan(
            self.desired, state, self._loaded, digest=self._digest, traffic=CarriedTraffic(), prune=True
        )
        for action in actions:
            await self.charon.apply(action)
            self._loaded = self._loaded.after(action, self._digest)
        sas = without_superseded(state.sas, self._loaded)
        for step in self._initiation.due(time.monotonic(), self.desired, sas):
            if isinstance(step, Initiate):
                await self.charon.initiate(step.key, step.child)
            else:
                await self.charon.apply(step)
        return state

    def lines(self) -> list[str]:
        """What charon has logged."""
        return [event.text for event in self.events if isinstance(event, LogLine)]

    async def told(self, said: Callable[[], bool], *, deadline: float = 5.0) -> None:
        """Return once it has been told."""
        async with asyncio.timeout(deadline):
            while not said():
                self._told.clear()
                await self._told.wait()

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            await self.round()
            await asyncio.sleep(0.1)

    def _digest(self, wanted: CharonConnection) -> str:
        return messages.digest(wanted, key=b"of this process")


@pytest.fixture
def hosts(tmp_path: pathlib.Path) -> Iterator[tuple[Host, Host]]:
    with charon_pair(tmp_path) as pair:
        yield pair


@asynccontextmanager
async def agents(
    a: Host,
    b: Host,
    here: CharonConnection,
    there: CharonConnection | None,
    *,
    deadline: float = vici.DEADLINE,
) -> AsyncIterator[tuple[Agent, Agent]]:
    """Yield an agent that is connected, and its peer, which has its connection loaded."""
    agent, peer = Agent(a, here, deadline=deadline), Agent(b, there)
    await agent.connect()
    await peer.connect()
    if there is not None:
        await load(peer.charon, there)
    try:
        yield agent, peer
    finally:
        agent.charon.close()
        peer.charon.close()


@asynccontextmanager
async def running(*agents: Agent) -> AsyncIterator[None]:
    """Have agents reconcile meanwhile."""
    async with asyncio.TaskGroup() as tasks:
        reconciling = [tasks.create_task(agent.run()) for agent in agents]
        yield
        for task in reconciling:
            task.cancel()


def ping(a: Host, b: Host) -> None:
    """Send a packet through the tunnel, and get one back."""
    source, target = a.network.removesuffix("/32"), b.network.removesuffix("/32")
    subprocess.run(
        ["ip", "netns", "exec", a.namespace, "ping", "-c1", "-W2", "-I", source, target],
        check=True,
        stdout=subprocess.DEVNULL,
    )


# up, and one of each


def test_a_tunnel_comes_up_and_carries_packets(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    async def scenario() -> tuple[Agent, CharonState]:
        async with agents(a, b, connection(a, b), connection(b, a)) as (agent, _), running(agent):
            await until(agent.charon, carries, deadline=5.0)
            await asyncio.to_thread(ping, a, b)
            return agent, await agent.charon.observe()

    agent, state = asyncio.run(scenario())
    (child,) = state.sas[0].carrying_children
    assert (child.packets_in, child.packets_out) == (1, 1)
    assert [e.up for e in agent.events if isinstance(e, ChildUpDown)] == [True]
    assert agent.failures == []


@pytest.mark.parametrize("version", [1, 2])
def test_what_both_ends_initiate_at_once_comes_down_to_one(hosts: tuple[Host, Host], version: int) -> None:
    a, b = hosts
    ike = make_ike(version=version)
    here, there = replace(connection(a, b), ike=ike), replace(connection(b, a), ike=ike)

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, peer):
            await load(agent.charon, here)
            await asyncio.gather(agent.charon.initiate(here.key), peer.charon.initiate(there.key))
            await until(agent.charon, carries)
            async with running(agent):
                await until(agent.charon, _one_carries, deadline=SETTLED)

    asyncio.run(scenario())
    ping(a, b)


async def duplicate(agent: Agent, peer: Agent, here: CharonConnection, there: CharonConnection) -> None:
    """Have the peer bring up an IKE_SA beside the one that is there: it takes its own for another's."""
    await bring_up(agent.charon, here)
    await peer.charon.apply(LoadConnection(replace(there, ike=make_ike(dpd_delay=30.0))))
    await peer.charon.initiate(there.key)
    await until(agent.charon, lambda state: len([sa for sa in state.sas if sa.carrying_children]) == 2)


def test_of_two_ike_sas_that_carry_the_newer_stays(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    here, there = connection(a, b), connection(b, a)

    async def scenario() -> CharonState:
        async with agents(a, b, here, there) as (agent, peer):
            await duplicate(agent, peer, here, there)
            async with running(agent):
                return await until(agent.charon, _one_carries, deadline=SETTLED)

    state = asyncio.run(scenario())
    assert [sa.initiator for sa in state.sas if sa.carrying_children] == [False]
    ping(a, b)


@pytest.mark.parametrize(
    "changes",
    [{"ike": make_ike(encryption="aes256")}, {"esp": make_esp(encryption="aes256")}],
    ids=["ike", "esp"],
)
def test_changed_settings_are_negotiated_beside_what_carries_which_stays_while_they_are_refused(
    hosts: tuple[Host, Host], changes: dict[str, Any]
) -> None:
    a, b = hosts
    here, there = connection(a, b), connection(b, a)

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, peer), running(agent):
            [old] = (await until(agent.charon, _one_carries)).sas
            agent.desired = by_name(replace(here, **changes))
            await agent.told(lambda: bool(agent.failures))
            [still] = (await agent.charon.observe()).sas
            assert still.carrying_children[0].unique_id == old.carrying_children[0].unique_id
            ping(a, b)
            await peer.charon.apply(LoadConnection(replace(there, **changes)))
            await until(agent.charon, _renewed(old), deadline=SETTLED)

    asyncio.run(scenario())
    ping(a, b)


def _renewed(old: IkeSa) -> Holds:
    """Return whether one CHILD_SA carries, and not the one of before."""
    before = {child.unique_id for child in old.carrying_children}

    def renewed(state: CharonState) -> bool:
        children = [child.unique_id for sa in state.sas for child in sa.carrying_children]
        return len(children) == 1 and before.isdisjoint(children)

    return renewed


def test_two_agents_agree_on_one(hosts: tuple[Host, Host]) -> None:
    """Not how the cloud is, but the hardest case: both remove duplicates, and may choose differently."""
    a, b = hosts
    here, there = connection(a, b), connection(b, a)

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, peer):
            await duplicate(agent, peer, here, there)
            async with running(agent, peer):
                await until(agent.charon, _one_carries, deadline=SETTLED)
                await until(peer.charon, _one_carries, deadline=SETTLED)

    asyncio.run(scenario())
    ping(a, b)


def _one_carries(state: CharonState) -> bool:
    return len([sa for sa in state.sas if sa.carrying_children]) == 1


def test_ikev1_has_a_child_for_each_pair_of_networks(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    many = (b.network, b.other_network)
    here = replace(connection(a, b), ike=make_ike(version=1), remote_ts=many)
    there = replace(connection(b, a), ike=make_ike(version=1), local_ts=many)

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, _), running(agent):
            await until(agent.charon, _carried({"primary", "primary.2"}), deadline=2.0)

    asyncio.run(scenario())


def _carried(names: set[str]) -> Holds:
    return lambda state: {child.name for sa in state.sas for child in sa.carrying_children} == names


@pytest.mark.parametrize("nonlocal_bind", [0, 1])
def test_what_is_forgotten_without_its_address_is_never_told_to_the_peer(
    hosts: tuple[Host, Host], nonlocal_bind: int
) -> None:
    """The address is another machine's by then: a DELETE would end what that one has negotiated."""
    a, b = hosts
    here, there = connection(a, b), connection(b, a)
    sysctl = f"net.ipv4.ip_nonlocal_bind={nonlocal_bind}"  # what many set for keepalived
    subprocess.run(["ip", "netns", "exec", a.namespace, "sysctl", "-qw", sysctl], check=True)

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, peer):
            [sa] = (await bring_up(agent.charon, here)).sas
            await until(peer.charon, carries)
            ip_of(a, "address", "add", "10.77.0.11/24", "dev", "wire")  # there is a way out still
            ip_of(a, "address", "del", f"{a.address}/24", "dev", "wire")
            sent = datagrams_sent(a)
            for end in given_up([sa], {here.name: False}):
                await agent.charon.apply(end)
            await until(agent.charon, lambda state: not state.sas)
            assert datagrams_sent(a) == sent
            assert carries(await peer.charon.observe())

    asyncio.run(scenario())
    assert "error writing to socket" in a.log(), "charon did not even try: the test proves nothing"


def ip_of(host: Host, *arguments: str) -> None:
    subprocess.run(["ip", "-n", host.namespace, *arguments], check=True)


def datagrams_sent(host: Host) -> int:
    """Return the UDP datagrams that the kernel has sent for this host."""
    command = ["ip", "netns", "exec", host.namespace, "cat", "/proc/net/snmp"]
    names, values = (
        line.split()
        for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        if line.startswith("Udp:")
    )
    return int(values[names.index("OutDatagrams")])


def test_certificates_authenticate(hosts: tuple[Host, Host], tmp_path: pathlib.Path) -> None:
    a, b = hosts
    here = replace(connection(a, b), psk=None, certificates=certificates(tmp_path, a.address))
    there = replace(connection(b, a), psk=None, certificates=certificates(tmp_path, b.address))

    async def scenario() -> Agent:
        async with agents(a, b, here, there) as (agent, _), running(agent):
            await until(agent.charon, carries)
            return agent

    assert asyncio.run(scenario()).failures == []


def test_a_renewed_certificate_is_taken_by_a_revision(
    hosts: tuple[Host, Host], tmp_path: pathlib.Path
) -> None:
    a, b = hosts
    here = replace(connection(a, b), psk=None, certificates=certificates(tmp_path, a.address))
    there = replace(connection(b, a), psk=None, certificates=certificates(tmp_path, b.address))

    def renew() -> tuple[CertificateFiles, CertificateFiles]:
        (tmp_path / "ca.pem").unlink()  # of another authority, so that the former certificate is no use
        return certificates(tmp_path, a.address), certificates(tmp_path, b.address)

    async def scenario() -> Agent:
        async with agents(a, b, here, there) as (agent, peer), running(agent):
            [old] = (await until(agent.charon, _one_carries)).sas
            ours, theirs = await asyncio.to_thread(renew)
            await load(peer.charon, replace(there, certificates=replace(theirs, revision="2")))
            agent.desired = by_name(replace(here, certificates=replace(ours, revision="2")))
            await until(agent.charon, _renewed(old), deadline=SETTLED)
            return agent

    assert asyncio.run(scenario()).failures == []
    ping(a, b)


def certificates(directory: pathlib.Path, address: str) -> CertificateFiles:
    """Make a certificate for an address, and at first the authority that signs it."""
    ca, key = directory / "ca.pem", directory / "ca.key"
    name = directory / address
    if not ca.exists():
        _openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=ca", "-keyout", key, "-out", ca)
    _openssl(
        f"req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={address} -addext subjectAltName=IP:{address} "
        "-addext basicConstraints=CA:FALSE",
        *("-CA", ca, "-CAkey", key, "-keyout", f"{name}.key", "-out", f"{name}.pem"),
    )
    return CertificateFiles(certificate=f"{name}.pem", private_key=f"{name}.key", ca=str(ca))


def _openssl(command: str, *files: object) -> None:
    subprocess.run(["openssl", *command.split(), *map(str, files)], check=True, capture_output=True)


# another name


FORMER, PRESENT = "vpnagent.hangzhou.primary", "vpnagent.beijing.other"


@pytest.mark.parametrize(
    ("changes", "seen"),
    [
        pytest.param({}, {FORMER: ["primary"]}, id="nothing"),
        pytest.param({"esp": make_esp(encryption="aes256")}, {FORMER: ["primary", "other"]}, id="esp"),
        pytest.param(
            {"ike": make_ike(encryption="aes256")}, {FORMER: ["primary"], PRESENT: ["other"]}, id="ike"
        ),
    ],
)
def test_a_connection_under_another_name_uses_what_stands_unless_it_differs(
    hosts: tuple[Host, Host], changes: dict[str, Any], seen: dict[str, list[str]]
) -> None:
    a, b = hosts
    here, there = connection(a, b), connection(b, a)
    renamed = replace(here, key=TunnelKey("beijing", "other"), **changes)

    def as_expected(state: CharonState) -> bool:
        return {sa.connection: [c.name for c in sa.carrying_children] for sa in state.sas} == seen

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, peer):
            await bring_up(agent.charon, here)
            await agent.charon.apply(UnloadConnection(here.name))
            await agent.charon.apply(UnloadSecret(here.name))
            await load(agent.charon, renamed)
            await load(peer.charon, replace(there, **changes))
            await agent.charon.initiate(renamed.key)
            said = ("existing duplicate", "CHILD_SA other{")
            await agent.told(lambda: any(word in line for line in agent.lines() for word in said))
            state = await until(agent.charon, as_expected)
            assert {sa.remote_host for sa in state.sas} == {b.address}

    asyncio.run(scenario())
    ping(a, b)


# rekeying


def test_through_a_rekey_exactly_one_child_carries(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    async def scenario() -> tuple[list[int], Agent]:
        async with agents(a, b, connection(a, b), connection(b, a)) as (agent, _):
            await bring_up(agent.charon, connection(a, b))
            raw = await vici.connect(a.vici)
            counts = []
            for section in ({"child": "primary"}, {"ike": connection(a, b).name}):
                await raw.request("rekey", section)
                for _ in range(20):
                    counts.append(await carrying(agent.charon))
                    await asyncio.sleep(0.01)
            raw.close()
            return counts, agent

    counts, agent = asyncio.run(scenario())
    assert set(counts) == {1}
    rekeyed = [event.child for event in agent.events if isinstance(event, Rekeyed)]
    assert rekeyed == ["primary", None]
    ping(a, b)


async def carrying(charon: Charon) -> int:
    """Count the CHILD_SAs that carry, looking again when there is none: list-sas is no snapshot."""
    for pause in (0.0, *CONFIRM):
        await asyncio.sleep(pause)
        state = await charon.observe()
        if count := sum(len(sa.carrying_children) for sa in state.sas):
            return count
    return 0


def test_short_lifetimes_are_rekeyed_in_time(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    short = make_esp(lifetime=10.0)
    here, there = (replace(c, esp=short) for c in (connection(a, b), connection(b, a)))

    async def scenario() -> None:
        async with agents(a, b, here, there) as (agent, _):
            await bring_up(agent.charon, here)
            async with asyncio.timeout(12):
                while not any(isinstance(event, Rekeyed) for event in agent.events):
                    assert await carrying(agent.charon)

    asyncio.run(scenario())


# what goes wrong with the peer


def failing(
    here: CharonConnection, there: CharonConnection | None, hosts: tuple[Host, Host]
) -> list[NegotiationFailed]:
    """Return the first failures that an agent is told of."""

    async def scenario() -> list[NegotiationFailed]:
        async with agents(*hosts, here, there) as (agent, _), running(agent):
            await agent.told(lambda: bool(agent.failures))
            return agent.failures

    return asyncio.run(scenario())


def test_a_wrong_key_is_told_and_not_shown(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wrong = replace(connection(a, b), psk=Secret(b"another-Hush"))
    failed = failing(wrong, connection(b, a), hosts)[0]
    assert failed.reason is Reason.PSK_MISMATCH
    assert failed.connection == wrong.name
    assert "Hush" not in failed.text + a.log() + b.log()


def test_a_wrong_proposal_is_told(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wrong = replace(connection(a, b), ike=make_ike(encryption="aes256"))
    assert failing(wrong, connection(b, a), hosts)[0].reason is Reason.PROPOSAL_MISMATCH


def test_wrong_traffic_selectors_are_told(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wrong = replace(connection(a, b), local_ts=("10.99.0.0/24",))
    there = replace(connection(b, a), remote_ts=("10.98.0.0/24",))
    assert failing(wrong, there, hosts)[0].reason is Reason.TRAFFIC_SELECTOR_MISMATCH


def test_silence_is_told_while_it_goes_on(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    nobody = replace(connection(a, b), remote_address="10.77.0.99")
    assert failing(nobody, connection(b, a), hosts)[0].reason is Reason.NO_RESPONSE


def test_the_peers_attempts_tell_what_ours_do_not(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    here, there = connection(a, b), replace(connection(b, a), ike=make_ike(dh_group=14))

    async def scenario() -> list[NegotiationFailed]:
        async with agents(a, b, here, there) as (agent, peer):
            await load(agent.charon, here)
            await peer.charon.initiate(there.key)
            await agent.told(lambda: bool(agent.failures))
            return agent.failures

    assert [failed.reason for failed in asyncio.run(scenario())] == [Reason.DH_GROUP_MISMATCH]


def test_attempts_that_fail_become_rare(hosts: tuple[Host, Host]) -> None:
    a, b = hosts
    wrong = replace(connection(a, b), psk=Secret(b"another"))

    async def scenario() -> int:
        async with agents(a, b, wrong, connection(b, a)) as (agent, _), running(agent):
            await asyncio.sleep(5)
            return len(agent.failures)

    assert 2 <= asyncio.run(scenario()) <= 4  # at 0, 1, 3 s


def test_an_unanswered_attempt_can_be_given_up_and_the_peer_found_when_it_is_back(
    hosts: tuple[Host, Host],
) -> None:
    a, b = hosts
    here = connection(a, b)

    async def scenario() -> None:
        async with agents(a, b, here, connection(b, a)) as (agent, _):
            await load(agent.charon, here)
            with b.stopped():
                await agent.charon.initiate(here.key)
                (sa,) = (await agent.charon.observe()).sas
                assert sa.connecting
                await agent.charon.apply(Terminate(sa.connection, sa.unique_id, "no answer", force=True))
                assert (await agent.charon.observe()).sas == ()
            async with running(agent):
                await until(agent.charon, carries, deadline=5.0)

    asyncio.run(scenario())


# what goes wrong with charon


def test_a_killed_charon_is_noticed_at_once_and_everything_comes_back(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    async def scenario() -> float:
        async with agents(a, b, connection(a, b), connection(b, a)) as (agent, _):
            async with running(agent):
                await until(agent.charon, carries)
            killed = time.monotonic()
            a.signal(signal.SIGKILL)
            await agent.told(lambda: isinstance(agent.events[-1], ConnectionLost))
            noticed = time.monotonic() - killed
            await asyncio.to_thread(a.kill)
            assert not agent.charon.connected
            with pytest.raises(ViciUnavailableError, match="charon is not running"):
                await agent.connect()
            await asyncio.to_thread(a.start)
            await agent.connect()
            assert (await agent.charon.observe()).connections == frozenset()
            async with running(agent):
                await until(agent.charon, carries, deadline=20.0)
            return noticed

    assert asyncio.run(scenario()) < 4.0  # 3 ms on an idle machine; a missed deadline would be 5 s
    ping(a, b)


def test_a_hanging_charon_is_told_from_one_that_is_gone(hosts: tuple[Host, Host]) -> None:
    a, b = hosts

    async def scenario() -> list[str]:
        async with agents(a, b, connection(a, b), connection(b, a), deadline=0.3) as (agent, _):
            await load(agent.charon, connection(a, b))
            told = []
            with a.stopped():
                with pytest.raises(ViciUnavailableError) as raised:
                    await agent.charon.observe()
                told.append(str(raised.value))
                assert not agent.charon.connected
                for _ in range(8):
                    with pytest.raises(ViciUnavailableError) as raised:
                        await agent.connect()
                    told.append(str(raised.value))
            await _connect_with_patience(agent)
            assert (await agent.charon.observe()).connections == {connection(a, b).name}
            return told

    told = asyncio.run(scenario())
    assert all(line.endswith("charon hangs: it does not answer") for line in told)


async def _connect_with_patience(agent: Agent) -> None:
    """A charon that goes on first accepts those that have given up waiting."""
    async with asyncio.timeout(5):
        while not agent.charon.connected:
            with suppress(ViciUnavailableError):
                await agent.connect()
            await asyncio.sleep(0.05)


def test_a_socket_without_permission_names_the_group() -> None:
    async def scenario(path: str) -> str:
        with pytest.raises(ViciUnavailableError) as raised:
            await vici.connect(path)
        return str(raised.value)

    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listening:
        path = f"{directory}/charon.vici"
        listening.bind(path)
        listening.listen()
        os.chown(path, 0, grp.getgrnam("adm").gr_gid)
        os.chmod(path, 0o660)
        os.chmod(directory, 0o711)  # noqa: S103 - to have only the socket in the way
        os.seteuid(NOBODY)
        try:
            told = asyncio.run(scenario(path))
        finally:
            os.seteuid(0)
    assert told.endswith("permission denied: the user must be in group adm")
