"""Record what the real charon says, for the tests that run without it: tests/data/vici.

As root: ``python -m tests.native.record_vici``. Packets as they come off the socket, and the log lines of
negotiations that fail for a known reason, at both ends.
"""

import asyncio
import json
import pathlib
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import replace

from tests.ipsec.charon_contract import carries, load, until
from tests.ipsec.connections import make_esp, make_ike
from tests.native.charon_pair import Host, charon_pair, connection

from vpnagent.ipsec import vici
from vpnagent.ipsec.actions import Terminate, UnloadConnection, UnloadSecret
from vpnagent.ipsec.charon import EVENTS, Charon
from vpnagent.ipsec.connection import Connection
from vpnagent.ipsec.events import Event, LogLine
from vpnagent.secret import Secret

DATA = pathlib.Path(__file__).parent.parent / "data" / "vici"
QUIET = 1.2  #: seconds without a line after which all is told; the first retransmission comes after 1

Ends = tuple[Connection, Connection | None]


def failures(a: Host, b: Host) -> Iterator[tuple[str, Ends]]:
    """Yield each scenario: what the initiator and what the responder has loaded."""
    here, there = connection(a, b), connection(b, a)
    here1, there1 = replace(here, ike=make_ike(version=1)), replace(there, ike=make_ike(version=1))
    yield "psk", (here, replace(there, psk=Secret(b"another")))
    yield "ike-encryption", (here, replace(there, ike=make_ike(encryption="aes256")))
    yield "ike-integrity", (here, replace(there, ike=make_ike(integrity="sha256")))
    yield "ike-dh-group", (here, replace(there, ike=make_ike(dh_group=14)))
    yield "ike-all", (here, replace(there, ike=make_ike(encryption="3des", integrity="md5", dh_group=14)))
    yield "esp-encryption", (here, replace(there, esp=make_esp(encryption="aes256")))
    yield "traffic-selectors", (here, replace(there, local_ts=("10.99.0.0/24",), remote_ts=("10.98.0.0/24",)))
    yield "responder-expects-another-id", (here, replace(there, remote_id="somebody-else"))
    yield "responder-has-another-id", (here, replace(there, local_id="somebody-else"))
    yield "responder-without-connection", (here, None)
    yield "ike-version", (here, there1)
    yield "ikev1-psk", (here1, replace(there1, psk=Secret(b"another")))
    yield "ikev1-ike-encryption", (here1, replace(there1, ike=make_ike(version=1, encryption="aes256")))
    yield "ikev1-pfs-group", (here1, replace(there1, esp=make_esp(pfs_group=14)))
    yield (
        "ikev1-traffic-selectors",
        (
            here1,
            replace(there1, local_ts=("10.99.0.0/24",), remote_ts=("10.98.0.0/24",)),
        ),
    )
    yield "ikev1-responder-expects-another-id", (here1, replace(there1, remote_id="somebody-else"))
    yield "ikev1-responder-has-another-id", (here1, replace(there1, local_id="somebody-else"))
    yield "ikev1-mode", (here1, replace(there1, ike=make_ike(version=1, mode="aggressive")))
    yield (
        "ikev1-aggressive-refused",
        (
            replace(here1, ike=make_ike(version=1, mode="aggressive")),
            replace(there1, ike=make_ike(version=1, mode="aggressive")),
        ),
    )


class End:
    """One host's charon, and the lines that it has logged since they were last taken."""

    def __init__(self, host: Host) -> None:
        self.charon = Charon(host.vici, on_event=self._on_event)
        self.lines: list[LogLine] = []

    def _on_event(self, event: Event) -> None:
        if isinstance(event, LogLine) and "vici" not in event.text and "shared key with" not in event.text:
            self.lines.append(event)

    async def quiet(self) -> list[dict[str, str | None]]:
        """Return the lines once no more come."""
        count = -1
        while count != len(self.lines):
            count = len(self.lines)
            await asyncio.sleep(QUIET)
        return [{"connection": x.connection, "ike_sa": x.ike_sa, "text": x.text} for x in self.lines]

    async def empty(self) -> None:
        """Have charon forget everything."""
        state = await self.charon.observe()
        for name in state.connections:
            await self.charon.apply(UnloadConnection(name))
        for id_ in state.secrets:
            await self.charon.apply(UnloadSecret(id_))
        for sa in state.sas:
            await self.charon.apply(Terminate(sa.connection, sa.unique_id, "next", force=True))
        await until(self.charon, lambda state: not state.sas)


async def record_failures(a: Host, b: Host) -> dict[str, dict[str, list[dict[str, str | None]]]]:
    """Return the lines of each scenario, by role."""
    here, there = End(a), End(b)
    await here.charon.connect()
    await there.charon.connect()
    recorded = {}
    for name, (initiator, responder) in failures(a, b):
        await load(here.charon, initiator)
        if responder:
            await load(there.charon, responder)
        recorded[name] = await _roles(here, there, initiator)
        await here.empty()
        await there.empty()
    recorded["pfs-group-at-rekey"] = await _failed_rekey(a, b, here, there)
    b.signal(signal.SIGSTOP)
    await load(here.charon, connection(a, b))
    recorded["no-answer"] = {"initiator": (await _roles(here, there, connection(a, b)))["initiator"]}
    b.signal(signal.SIGCONT)
    return recorded


async def _roles(here: End, there: End, initiator: Connection) -> dict[str, list[dict[str, str | None]]]:
    here.lines.clear()
    there.lines.clear()
    await here.charon.initiate(initiator.key)
    return {"initiator": await here.quiet(), "responder": await there.quiet()}


async def _failed_rekey(a: Host, b: Host, here: End, there: End) -> dict[str, list[dict[str, str | None]]]:
    await load(there.charon, replace(connection(b, a), esp=make_esp(pfs_group=14)))
    await load(here.charon, connection(a, b))
    await here.charon.initiate(connection(a, b).key)
    await until(here.charon, carries)
    await here.quiet()
    here.lines.clear()
    there.lines.clear()
    raw = await vici.connect(a.vici)
    await raw.request("rekey", {"child": "primary"})
    raw.close()
    told = {"initiator": await here.quiet(), "responder": await there.quiet()}
    await here.empty()
    await there.empty()
    return told


class Tee(vici.ViciConnection):
    """A connection that keeps every segment."""

    segments: list[tuple[str, bytes]]
    label = ""

    def _receive(self, segment: bytes) -> None:
        self.segments.append((self.label, segment))
        super()._receive(segment)


async def _tee(host: Host) -> Tee:
    tee = Tee(host.vici, vici.DEADLINE, lambda _name, _message: None, lambda _error: None)
    tee.segments = []
    await asyncio.get_running_loop().create_unix_connection(lambda: tee, host.vici)
    return tee


async def record_segments(a: Host, b: Host) -> list[dict[str, str]]:
    """Return packets with a word on what each was the answer to."""
    there = End(b)
    await there.charon.connect()
    await load(there.charon, connection(b, a))
    here = End(a)
    await here.charon.connect()
    commands, listener = await _tee(a), await _tee(a)
    for event in EVENTS:
        if event != "log":
            await listener.subscribe(event)
    listener.segments.clear()
    commands.label = "register"
    await commands.subscribe("list-sa")
    await load(here.charon, connection(a, b))
    for label in ("version", "get-algorithms", "get-conns", "get-shared"):
        commands.label = label
        await commands.request(label)
    b.signal(signal.SIGSTOP)
    await here.charon.initiate(connection(a, b).key)
    await _list(commands, "connecting")
    b.signal(signal.SIGCONT)
    await until(here.charon, carries)
    await _list(commands, "established")
    await commands.request("rekey", {"child": "primary"})
    await until(here.charon, lambda state: any(len(sa.children) > 1 for sa in state.sas))
    await _list(commands, "child rekeyed")
    await commands.request("rekey", {"ike": connection(a, b).name})
    await until(here.charon, lambda state: {sa.unique_id for sa in state.sas} == {"2"})
    b.signal(signal.SIGSTOP)
    (sa,) = (await here.charon.observe()).sas
    await here.charon.apply(Terminate(sa.connection, sa.unique_id, "recording"))
    await _list(commands, "deleting, unanswered")
    b.signal(signal.SIGCONT)
    await until(here.charon, lambda state: not state.sas)
    told = [("events", segment) for _, segment in listener.segments]
    return [
        {"of": label, "segment": segment.hex()}
        for label, segment in commands.segments + told
        if label not in ("register", "")
    ]


async def _list(commands: Tee, label: str) -> None:
    commands.label = label
    await commands.stream("list-sas")
    commands.label = ""


def main() -> None:
    """Write both files."""
    for name, record in (("negotiation_failures", record_failures), ("segments", record_segments)):
        with tempfile.TemporaryDirectory() as directory, charon_pair(pathlib.Path(directory)) as (a, b):
            recorded = asyncio.run(record(a, b))
        (DATA / f"{name}.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
