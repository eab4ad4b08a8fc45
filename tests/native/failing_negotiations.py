"""Negotiations between two real charons that fail for a known reason (charon_pair.py).

record_vici.py writes down what the charons say, test_negotiation_reasons.py judges what we make of it;
tests/ipsec/negotiation_failures.py says what that is to be.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from tests.ipsec.charon_contract import carries, until
from tests.ipsec.connections import make_esp, make_ike
from tests.native.charon_pair import Host, connection

from vpnagent.config.values import Ike
from vpnagent.ipsec import messages, vici
from vpnagent.ipsec.actions import (
    CharonConnection,
    LoadSecret,
    Terminate,
    TerminateChild,
    UnloadConnection,
    UnloadSecret,
)
from vpnagent.ipsec.charon import Charon
from vpnagent.ipsec.failure_reason import ABSENCES, Reason
from vpnagent.ipsec.negotiation_failure import Diagnosis, NegotiationFailed
from vpnagent.ipsec.sa import LogLine, ViciEvent
from vpnagent.secret import Secret

ALLOW_AGGRESSIVE = "i_dont_care_about_security_and_use_aggressive_mode_psk = yes"
IMPATIENT = f"{ALLOW_AGGRESSIVE}\n retransmit_timeout = 0.3\n retransmit_tries = 1"
#: IKEv1 gives a peer up when all this has passed, and not at all when that is less than ``dpd_delay``.
SOON_GIVEN_UP = f"{ALLOW_AGGRESSIVE}\n retransmit_timeout = 0.5\n retransmit_tries = 2"
CLOSE_4500 = (
    "add table inet closed; add chain inet closed input { type filter hook input priority 0; }; "
    "add rule inet closed input udp dport 4500 drop"
)

TRANSPORT = {"mode": "transport", "local_ts": ["dynamic"], "remote_ts": ["dynamic"]}
AH = {"esp_proposals": [], "ah_proposals": ["sha1-modp1024"]}
NO_SUCH_CIPHER = {"esp_proposals": ["aes128gmac-modp1024"]}  #: charon can name it, nothing here can do it


class End:
    """One host's charon, what it has logged, and what we make of that."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.charon = Charon(host.vici, on_event=self._on_event)
        self.before: list[LogLine] = []  #: what led to the scene
        self.lines: list[LogLine] = []
        self.failures: list[NegotiationFailed] = []
        self._diagnosis = Diagnosis()
        self._told = asyncio.Event()

    def _on_event(self, event: ViciEvent) -> None:
        if not isinstance(event, LogLine):
            return
        if "vici" not in event.text and "shared key with" not in event.text:
            self.lines.append(event)
        if failed := self._diagnosis.heard(event):
            self.failures.append(failed)
        self._told.set()

    async def load(self, wanted: CharonConnection, child: Mapping[str, object]) -> None:
        """Load a connection and its secret; ``child`` replaces settings of its children, as VICI has them."""
        self.expect(wanted, wanted.remote_address)
        await self.charon.apply(LoadSecret(wanted))
        message: dict[str, Any] = messages.load_conn(wanted)
        children = message[wanted.name]["children"]
        for name in children:
            children[name] = {key: value for key, value in (children[name] | child).items() if value != []}
        await self.request("load-conn", message)

    def expect(self, wanted: CharonConnection, remote_address: str) -> None:
        """Take what is said of that address for the connection's."""
        self._diagnosis.expect(wanted.name, remote_address, wanted.ike.version)

    async def request(self, command: str, message: Mapping[str, object]) -> None:
        """Send one command, over a connection of its own."""
        raw = await vici.connect(self.host.vici)
        await raw.request(command, message)
        raw.close()

    async def told(self, said: Callable[["End"], bool], *, deadline: float = 10.0) -> None:
        """Return once that was said."""
        async with asyncio.timeout(deadline):
            while not said(self):
                self._told.clear()
                await self._told.wait()

    async def told_of(self, reason: Reason | None) -> None:
        """Return once a failure has this reason; at once if none is expected."""
        await self.told(lambda end: reason in {None, *(failed.reason for failed in end.failures)})

    async def said(self, text: str) -> None:
        """Return once a line has this text in it."""
        await self.told(lambda end: any(text in line.text for line in end.lines))

    def forget(self) -> None:
        """Have all that was said so far be what was before."""
        self.before += self.lines
        self.lines = []
        self.failures = []

    async def empty(self) -> None:
        """Have charon forget everything."""
        state = await self.charon.observe()
        for name in state.connections:
            await self.charon.apply(UnloadConnection(name))
            self._diagnosis.forget(name)
        for id_ in state.secrets:
            await self.charon.apply(UnloadSecret(id_))
        for sa in state.sas:
            await self.charon.apply(Terminate(sa.connection, sa.unique_id, "next", force=True))
        await until(self.charon, lambda state: not state.sas)


@asynccontextmanager
async def ends(a: Host, b: Host) -> AsyncIterator[tuple[End, End]]:
    """Yield both ends, connected to their charons."""
    here, there = End(a), End(b)
    try:
        await here.charon.connect()
        await there.charon.connect()
        yield here, there
    finally:
        here.charon.close()
        there.charon.close()


@dataclass(frozen=True)
class Stage:
    """Both ends: ``here`` initiates, ``there`` responds."""

    here: End
    there: End
    wanted: CharonConnection  #: what is initiated

    async def initiate(self) -> None:
        await self.here.charon.initiate(self.wanted.key)

    async def bring_up(self) -> None:
        """Negotiate, and forget what was said meanwhile."""
        await self.initiate()
        for end in (self.here, self.there):
            await until(end.charon, carries)
            await end.said(" established with SPIs ")
            end.forget()

    @asynccontextmanager
    async def settings(self, settings: str, *ends: End) -> AsyncIterator[None]:
        """Have other settings of charon for a while."""
        for end in ends:
            end.host.configure(settings)
            await end.request("reload-settings", {})
        try:
            yield
        finally:
            for end in ends:
                end.host.configure(ALLOW_AGGRESSIVE)
                await end.request("reload-settings", {})


Provocation = Callable[[Stage], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def initiated(stage: Stage) -> AsyncIterator[None]:
    await stage.initiate()
    yield


@asynccontextmanager
async def unanswered(stage: Stage) -> AsyncIterator[None]:
    async with stage.settings(IMPATIENT, stage.here):
        with stage.there.host.stopped():
            await stage.initiate()
            yield


@asynccontextmanager
async def unanswered_in_phase_2(stage: Stage) -> AsyncIterator[None]:
    """Phase 1 stands after a first attempt at phase 2 that was refused."""
    async with stage.settings(IMPATIENT, stage.here):
        await stage.initiate()
        for end in (stage.here, stage.there):
            await end.told(lambda end: any(failed.reason not in ABSENCES for failed in end.failures))
        with stage.there.host.stopped():
            stage.here.forget()
            stage.there.forget()
            await stage.initiate()
            yield


@asynccontextmanager
async def port_4500_closed(stage: Stage) -> AsyncIterator[None]:
    async with stage.settings(IMPATIENT, stage.here):
        _nft(stage.there.host, CLOSE_4500)
        try:
            await stage.initiate()
            yield
        finally:
            _nft(stage.there.host, "delete table inet closed")


@asynccontextmanager
async def impatient_responder(stage: Stage) -> AsyncIterator[None]:
    async with stage.settings(IMPATIENT, stage.there):
        await stage.initiate()
        yield


@asynccontextmanager
async def without_psk(stage: Stage) -> AsyncIterator[None]:
    await stage.there.charon.apply(UnloadSecret(stage.wanted.name))
    await stage.initiate()
    yield


@asynccontextmanager
async def aggressive_not_allowed(stage: Stage) -> AsyncIterator[None]:
    async with stage.settings("", stage.there):
        await stage.initiate()
        yield


@asynccontextmanager
async def rekeyed(stage: Stage) -> AsyncIterator[None]:
    """First the child, then the IKE_SA; by the peer, so that we are told of deletions too."""
    await stage.bring_up()
    await stage.there.request("rekey", {"child": stage.wanted.key.tunnel})
    await stage.here.said(" established with SPIs ")
    await stage.there.request("rekey", {"ike": stage.wanted.name})
    await stage.here.said("rekeyed between" if stage.wanted.ike.version == 2 else "detected reauth of ")
    yield


@asynccontextmanager
async def child_rekeyed(stage: Stage) -> AsyncIterator[None]:
    await stage.bring_up()
    await stage.here.request("rekey", {"child": stage.wanted.key.tunnel})
    yield


@asynccontextmanager
async def deleted(stage: Stage) -> AsyncIterator[None]:
    await stage.bring_up()
    [sa] = (await stage.there.charon.observe()).sas
    await stage.there.charon.apply(Terminate(sa.connection, sa.unique_id, "test"))
    yield


@asynccontextmanager
async def child_deleted(stage: Stage) -> AsyncIterator[None]:
    await stage.bring_up()
    [sa] = (await stage.there.charon.observe()).sas
    await stage.there.charon.apply(TerminateChild(sa.connection, sa.children[0].unique_id, "test"))
    yield


@asynccontextmanager
async def dead(stage: Stage) -> AsyncIterator[None]:
    async with stage.settings(SOON_GIVEN_UP, stage.here):
        await stage.bring_up()
        with stage.there.host.stopped():
            yield


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What both ends have loaded, and what happens then."""

    initiator: CharonConnection
    responder: CharonConnection | None
    initiator_child: Mapping[str, object] = field(default_factory=dict)
    responder_child: Mapping[str, object] = field(default_factory=dict)
    provoke: Provocation = initiated

    @asynccontextmanager
    async def played(self, here: End, there: End) -> AsyncIterator[None]:
        """Provoke it; afterwards both ends are as if nothing had been."""
        await here.load(self.initiator, self.initiator_child)
        if self.responder:
            await there.load(self.responder, self.responder_child)
        else:
            there.expect(self.initiator, here.host.address)
        for end in (here, there):
            end.forget()
            end.before = []
        try:
            async with self.provoke(Stage(here, there, self.initiator)):
                yield
        finally:
            await here.empty()
            await there.empty()


KINDS: Mapping[str, Ike] = {
    "ikev2": make_ike(),
    "main": make_ike(version=1),
    "aggressive": make_ike(version=1, mode="aggressive"),
}


def scenarios(a: Host, b: Host) -> dict[str, Scenario]:
    """Return every scenario between two hosts, by name."""
    made: dict[str, Scenario] = {}
    for kind, ike in KINDS.items():
        here, there = (replace(c, ike=ike) for c in (connection(a, b), connection(b, a)))
        made |= {f"{kind}-{name}": one for name, one in _of_every_kind(here, there).items()}
        made |= {f"{kind}-{name}": one for name, one in _of_identity(here, there).items()}
        if ike.version == 1:
            made |= {f"{kind}-{name}": one for name, one in _of_ikev1(here, there).items()}
        if kind != "aggressive":
            made |= {f"{kind}-{name}": one for name, one in _of_what_stands(here, there).items()}
    return made | _of_ikev2(connection(a, b), connection(b, a))


def _of_every_kind(here: CharonConnection, there: CharonConnection) -> dict[str, Scenario]:
    def with_ike(**changes: Any) -> Scenario:
        return Scenario(initiator=here, responder=replace(there, ike=replace(there.ike, **changes)))

    def with_esp(**changes: Any) -> Scenario:
        return Scenario(initiator=here, responder=replace(there, esp=make_esp(**changes)))

    elsewhere = replace(there, local_ts=("10.99.0.0/24",), remote_ts=("10.98.0.0/24",))
    other_version = make_ike(version=3 - here.ike.version)
    refused = replace(there, esp=make_esp(encryption="aes256"))
    return {
        "ike-encryption": with_ike(encryption="aes256"),
        "ike-integrity": with_ike(integrity="sha256"),
        "ike-dh-group": with_ike(dh_group=14),
        "ike-all": with_ike(encryption="3des", integrity="md5", dh_group=14),
        "esp-encryption": with_esp(encryption="aes256"),
        "esp-integrity": with_esp(integrity="sha256"),
        "ah": Scenario(initiator=here, responder=there, responder_child=AH),
        "traffic-selectors": Scenario(initiator=here, responder=elsewhere),
        "transport-mode": Scenario(initiator=here, responder=there, initiator_child=TRANSPORT),
        "responder-without-connection": Scenario(initiator=here, responder=None),
        "responder-with-other-version": Scenario(initiator=here, responder=replace(there, ike=other_version)),
        "no-answer": Scenario(initiator=here, responder=there, provoke=unanswered),
        "no-answer-in-phase-2": Scenario(initiator=here, responder=refused, provoke=unanswered_in_phase_2),
    }


def _of_identity(here: CharonConnection, there: CharonConnection) -> dict[str, Scenario]:
    wrong_psk = replace(there, psk=Secret(b"another"))
    return {
        "psk": Scenario(initiator=here, responder=wrong_psk, provoke=impatient_responder),
        "responder-without-psk": Scenario(initiator=here, responder=there, provoke=without_psk),
        "responder-expects-another-id": Scenario(
            initiator=here, responder=replace(there, remote_id="somebody-else")
        ),
        "responder-has-another-id": Scenario(
            initiator=here,
            responder=replace(there, local_id="somebody-else"),
            provoke=impatient_responder,
        ),
    }


def _of_ikev1(here: CharonConnection, there: CharonConnection) -> dict[str, Scenario]:
    """Phase 2 of IKEv1 offers the group of PFS at once, and its lifetime; and there are two modes."""
    in_main_mode = here.ike.mode == "main"
    mode = "aggressive" if in_main_mode else "main"
    other_mode = replace(there, ike=replace(there.ike, mode=mode))
    made = {
        "pfs-group": Scenario(initiator=here, responder=replace(there, esp=make_esp(pfs_group=14))),
        "no-pfs": Scenario(initiator=here, responder=replace(there, esp=make_esp(pfs_group=None))),
        "lifetime": Scenario(initiator=replace(here, esp=make_esp(lifetime=3600.0)), responder=there),
        f"responder-in-{mode}-mode": Scenario(initiator=here, responder=other_mode),
    }
    if not in_main_mode:
        made["refused"] = Scenario(initiator=here, responder=there, provoke=aggressive_not_allowed)
    return made


def _of_what_stands(here: CharonConnection, there: CharonConnection) -> dict[str, Scenario]:
    asks_often = replace(here, ike=replace(here.ike, dpd_delay=1.0))
    return {
        "port-4500-closed": Scenario(initiator=here, responder=there, provoke=port_4500_closed),
        "peer-deletes": Scenario(initiator=here, responder=there, provoke=deleted),
        "peer-deletes-child": Scenario(initiator=here, responder=there, provoke=child_deleted),
        "dead-peer": Scenario(initiator=asks_often, responder=there, provoke=dead),
        "rekeyed": Scenario(initiator=here, responder=there, provoke=rekeyed),
    }


def _of_ikev2(here: CharonConnection, there: CharonConnection) -> dict[str, Scenario]:
    initiator, responder = (
        replace(c, local_ts=(c.local_address,), remote_ts=(c.remote_address,)) for c in (here, there)
    )
    return {
        "ikev2-pfs-group-at-rekey": Scenario(
            initiator=here, responder=replace(there, esp=make_esp(pfs_group=14)), provoke=child_rekeyed
        ),
        "ikev2-no-such-cipher": Scenario(
            initiator=here,
            responder=there,
            initiator_child=NO_SUCH_CIPHER,
            responder_child=NO_SUCH_CIPHER,
        ),
        "ikev2-no-such-policy": Scenario(initiator=initiator, responder=responder),
    }


def _nft(host: Host, commands: str) -> None:
    subprocess.run(["ip", "netns", "exec", host.namespace, "nft", commands], check=True)
