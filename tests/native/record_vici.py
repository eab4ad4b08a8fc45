"""Record what the real charon says, for the tests that run without it: tests/data/vici.

As root: ``python -m tests.native.record_vici``. Packets as they come off the socket, and the log lines of
negotiations that fail for a known reason, at both ends.
"""

import asyncio
import contextlib
import json
import pathlib
import re
import signal
import tempfile

from tests.ipsec.charon_contract import carries, load, until
from tests.ipsec.negotiation_failures import TOLD
from tests.native.charon_pair import Host, charon_pair, connection
from tests.native.failing_negotiations import ALLOW_AGGRESSIVE, End, ends, scenarios

from vpnagent.ipsec import vici
from vpnagent.ipsec.actions import Terminate
from vpnagent.ipsec.charon import EVENTS
from vpnagent.ipsec.sa import LogLine

DATA = pathlib.Path(__file__).parent.parent / "data" / "vici"
QUIET = 0.8  #: seconds without a line after which all is told
NOISE = re.compile(
    r"forecast|multicast|fe80::|on wire$|^(sending|received) packet: | vendor ID$|^loaded \d+ "
)
LOUD = 2.5  #: seconds after which what is said repeats what was said


Lines = list[dict[str, str | None]]


async def record_failures(a: Host, b: Host) -> dict[str, dict[str, Lines]]:
    """Return the lines of each scenario, by role, and those that led to it."""
    recorded = {}
    for name, scenario in scenarios(a, b).items():
        async with ends(a, b) as (here, there), scenario.played(here, there):
            for end, reason in zip((here, there), TOLD[name], strict=True):
                await end.told_of(reason)
            await asyncio.gather(quiet(here), quiet(there))
            roles = {
                "initiator-before": here.before,
                "initiator": here.lines,
                "responder-before": there.before,
                "responder": there.lines,
            }
            recorded[name] = {role: plain(lines) for role, lines in roles.items()}
    return recorded


async def quiet(end: End) -> None:
    """Return once no more lines come, or more of the same."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOUD):
            count = -1
            while count != len(end.lines):
                count = len(end.lines)
                await asyncio.sleep(QUIET)


def plain(lines: list[LogLine]) -> Lines:
    """Return the lines that are about IKE: charon also tells of this host's addresses and of multicast."""
    return [
        {"connection": line.connection, "ike_sa": line.ike_sa, "text": line.text}
        for line in lines
        if not NOISE.search(line.text)
    ]


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
        with (
            tempfile.TemporaryDirectory() as directory,
            charon_pair(pathlib.Path(directory), ALLOW_AGGRESSIVE) as (a, b),
        ):
            recorded = asyncio.run(record(a, b))
        (DATA / f"{name}.json").write_text(json.dumps(recorded, indent=1) + "\n")


if __name__ == "__main__":
    main()
