"""The transport against a scripted charon on a unix socket."""

import asyncio
import os
import pathlib
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vici.protocol import Message, Packet

from vpnagent.errors import ViciError, ViciUnavailableError
from vpnagent.ipsec import vici
from vpnagent.ipsec.messages import ViciSection

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CONFIRM = struct.pack("!B", Packet.EVENT_CONFIRM)
UNKNOWN_COMMAND = struct.pack("!B", Packet.CMD_UNKNOWN)
UNKNOWN_EVENT = struct.pack("!B", Packet.EVENT_UNKNOWN)


def answer(message: dict[str, object]) -> bytes:
    return struct.pack("!B", Packet.CMD_RESPONSE) + Message.serialize(message)


def event(name: str, message: dict[str, object]) -> bytes:
    return struct.pack("!BB", Packet.EVENT, len(name)) + name.encode() + Message.serialize(message)


def framed(*packets: bytes) -> bytes:
    return b"".join(vici.HEADER.pack(len(packet)) + packet for packet in packets)


async def read_command(reader: asyncio.StreamReader) -> str:
    (length,) = vici.HEADER.unpack(await reader.readexactly(vici.HEADER.size))
    packet = await reader.readexactly(length)
    return packet[2 : 2 + packet[1]].decode()


class Told:
    """What a connection tells its owner."""

    def __init__(self) -> None:
        self.events: list[tuple[str, ViciSection]] = []
        self.lost: list[ViciUnavailableError] = []

    def on_event(self, name: str, message: ViciSection) -> None:
        self.events.append((name, message))


@asynccontextmanager
async def connected(
    path: pathlib.Path, handler: Handler, *, deadline: float = vici.DEADLINE
) -> AsyncIterator[tuple[vici.ViciConnection, Told]]:
    """Yield a connection to a charon that behaves as the handler says."""
    accepted, finished = asyncio.Event(), asyncio.Event()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        with suppress(OSError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        finished.set()

    socket_path = str(path / "charon.vici")
    told = Told()
    server = await asyncio.start_unix_server(tracked, socket_path)
    async with server:
        connection = await vici.connect(
            socket_path, deadline=deadline, on_event=told.on_event, on_lost=told.lost.append
        )
        await accepted.wait()
        try:
            yield connection, told
        finally:
            connection.close()
            await finished.wait()
            os.unlink(socket_path)


def answering(*packets: bytes) -> Handler:
    """Answer each command with the next packet; then hang until the peer goes away."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for packet in packets:
            await read_command(reader)
            writer.write(framed(packet))
        await reader.read()

    return handler


def saying(data: bytes, *, then_close: bool = False) -> Handler:
    """Say this after the first command, whatever it is."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_command(reader)
        writer.write(data)
        if not then_close:
            await reader.read()

    return handler


def test_a_command_is_answered(tmp_path: pathlib.Path) -> None:
    async def scenario() -> ViciSection:
        async with connected(tmp_path, answering(answer({"version": "5.9.8"}))) as (connection, _):
            return await connection.request("version")

    assert asyncio.run(scenario()) == {"version": b"5.9.8"}


def test_overlapping_commands_get_each_its_own_answer(tmp_path: pathlib.Path) -> None:
    async def scenario() -> list[ViciSection]:
        answers = [answer({"n": str(n)}) for n in range(20)]
        async with connected(tmp_path, answering(*answers)) as (connection, _):
            return await asyncio.gather(*(connection.request("c") for _ in answers))

    assert asyncio.run(scenario()) == [{"n": str(n).encode()} for n in range(20)]


def test_the_answer_to_a_cancelled_command_goes_to_nobody_else(tmp_path: pathlib.Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, second = await read_command(reader), await read_command(reader)
        writer.write(framed(event("list-sa", {"of": first}), answer({"of": first})))
        writer.write(framed(event("list-sa", {"of": second}), answer({"of": second})))
        await reader.read()

    async def scenario() -> list[ViciSection]:
        async with connected(tmp_path, handler) as (connection, _):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(connection.stream("first"), 0.01)
            return await connection.stream("second")

    assert asyncio.run(scenario()) == [{"of": b"second"}]


def test_what_is_streamed_belongs_to_the_command_it_answers(tmp_path: pathlib.Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for command in (await read_command(reader), await read_command(reader)):
            sas = [event("list-sa", {"of": command, "n": str(n)}) for n in range(2)]
            writer.write(framed(*sas, answer({})))
        await reader.read()

    async def scenario() -> tuple[list[ViciSection], list[ViciSection]]:
        async with connected(tmp_path, handler) as (connection, _):
            return await asyncio.gather(connection.stream("one"), connection.stream("two"))

    one, two = asyncio.run(scenario())
    assert [message["of"] for message in one] == [b"one", b"one"]
    assert [message["of"] for message in two] == [b"two", b"two"]


def test_an_event_before_an_answer_is_no_answer(tmp_path: pathlib.Path) -> None:
    said = framed(event("log", {"msg": "x"}), answer({"a": "b"}))

    async def scenario() -> tuple[ViciSection, Told]:
        async with connected(tmp_path, saying(said)) as (connection, told):
            return await connection.request("c"), told

    result, told = asyncio.run(scenario())
    assert result == {"a": b"b"}
    assert told.events == [("log", {"msg": b"x"})]


def test_segments_may_come_byte_by_byte(tmp_path: pathlib.Path) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_command(reader)
        for byte in framed(event("log", {"msg": "x"}), answer({"a": "b"})):
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
        await reader.read()

    async def scenario() -> ViciSection:
        async with connected(tmp_path, handler) as (connection, _):
            return await connection.request("c")

    assert asyncio.run(scenario()) == {"a": b"b"}


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (answer({"success": "no", "errmsg": "conn 'x' not found"}), "charon: c: conn 'x' not found"),
        (answer({"success": "no"}), "charon: c: refused without a reason"),
        (answer({"success": {"x": "y"}, "errmsg": ["z"]}), "charon: c: refused without a reason"),
        (UNKNOWN_COMMAND, "charon: c: this version of charon does not know the command"),
    ],
)
def test_a_refusal_is_an_error_and_the_connection_lives_on(
    tmp_path: pathlib.Path, packet: bytes, reason: str
) -> None:
    async def scenario() -> ViciSection:
        async with connected(tmp_path, answering(packet, answer({}))) as (connection, _):
            with pytest.raises(ViciError) as raised:
                await connection.request("c")
            assert not isinstance(raised.value, ViciUnavailableError)
            assert str(raised.value) == reason
            return await connection.request("d")

    assert asyncio.run(scenario()) == {}


def test_an_event_that_charon_does_not_know_is_refused(tmp_path: pathlib.Path) -> None:
    async def scenario() -> None:
        async with connected(tmp_path, answering(CONFIRM, UNKNOWN_EVENT)) as (connection, _):
            await connection.subscribe("log")
            with pytest.raises(ViciError, match="does not know the event"):
                await connection.subscribe("alert")

    asyncio.run(scenario())


def test_a_missed_deadline_ends_the_connection_and_all_that_waits(tmp_path: pathlib.Path) -> None:
    async def scenario() -> list[object]:
        async with connected(tmp_path, answering(), deadline=0.02) as (connection, told):
            raised = await asyncio.gather(
                connection.request("a"), connection.request("b"), return_exceptions=True
            )
            with pytest.raises(ViciUnavailableError):
                await connection.request("c")
            return [str(error) for error in raised] + [len(told.lost)]

    a, b, lost = asyncio.run(scenario())
    assert str(a).endswith("charon hangs: it does not answer")
    assert "charon: b: " in str(b)
    assert lost == 1


def test_a_connection_that_charon_closes_is_told_once(tmp_path: pathlib.Path) -> None:
    async def scenario() -> Told:
        async with connected(tmp_path, saying(b"", then_close=True)) as (connection, told):
            with pytest.raises(ViciUnavailableError, match="closed by charon"):
                await connection.request("c")
            return told

    assert len(asyncio.run(scenario()).lost) == 1


def test_closing_tells_nobody(tmp_path: pathlib.Path) -> None:
    async def scenario() -> Told:
        async with connected(tmp_path, answering()) as (connection, told):
            connection.close()
            await asyncio.sleep(0)
            return told

    assert asyncio.run(scenario()).lost == []


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack("!I", 0xFFFFFFFF),
        framed(b""),
        framed(answer({}), answer({})),
        framed(struct.pack("!B", Packet.CMD_RESPONSE) + b"\x02"),
        framed(b"\x07\xff"),
        framed(answer({"a": "bcd"})[:-1]),
    ],
    ids=["oversized", "empty", "an answer too many", "a stray section end", "a cut event", "a cut value"],
)
def test_garbage_closes_the_connection_with_one_clear_line(tmp_path: pathlib.Path, garbage: bytes) -> None:
    async def scenario() -> Told:
        async with connected(tmp_path, saying(garbage)) as (connection, told):
            with suppress(ViciError):
                await connection.request("c")
            with pytest.raises(ViciUnavailableError):
                await connection.request("d")
            return told

    (lost,) = asyncio.run(scenario()).lost
    assert "does not speak VICI" in str(lost)
    assert "\n" not in str(lost)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(st.binary(max_size=60), st.booleans())
def test_whatever_is_said_is_an_answer_or_our_own_error(
    tmp_path: pathlib.Path, data: bytes, whole: bool
) -> None:
    async def scenario() -> None:
        said = framed(data) if whole else data
        async with connected(tmp_path, saying(said, then_close=True)) as (connection, _):
            try:
                await connection.request("c")
            except ViciError:
                return

    asyncio.run(scenario())


def test_a_value_that_cannot_be_sent_is_refused_without_showing_it(tmp_path: pathlib.Path) -> None:
    async def scenario() -> str:
        async with connected(tmp_path, answering()) as (connection, _):
            with pytest.raises(ViciError) as raised:
                await connection.request("load-shared", {"data": b"Hush" * 20000})
            return repr(raised.value) + repr(raised.value.__cause__) + repr(raised.value.__context__)

    assert "Hush" not in asyncio.run(scenario())


async def refusal(path: str) -> str:
    with pytest.raises(ViciUnavailableError) as raised:
        await vici.connect(path)
    return str(raised.value)


def test_a_missing_socket_is_told(tmp_path: pathlib.Path) -> None:
    said = asyncio.run(refusal(str(tmp_path / "none")))
    assert said.endswith("none: no such socket: is charon running, with its vici plugin?")


def test_a_socket_that_nobody_listens_on_is_told(tmp_path: pathlib.Path) -> None:
    async def scenario() -> str:
        server = await asyncio.start_unix_server(lambda _r, _w: None, tmp_path / "left")
        server.close()
        await server.wait_closed()
        return await refusal(str(tmp_path / "left"))

    assert asyncio.run(scenario()).endswith("nobody listens: charon is not running")


def test_a_full_queue_of_connections_is_told_as_a_hanging_charon(tmp_path: pathlib.Path) -> None:
    import socket  # noqa: PLC0415 - a server that never accepts cannot be had from asyncio

    async def scenario() -> str:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tmp_path / "full"))
            server.listen(0)
            first = await vici.connect(str(tmp_path / "full"))
            try:
                return await refusal(str(tmp_path / "full"))
            finally:
                first.close()

    assert asyncio.run(scenario()).endswith("charon hangs: it does not answer")
