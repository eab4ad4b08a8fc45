"""The prober's requests to charon, against a server that answers as it is told."""

import contextlib
import select
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vici.protocol import Message, Packet

from vpnagent.probe import ike_daemons
from vpnagent.probe.ike_daemons import Frames, ViciStreams, failure, framed
from vpnagent.probe.inbox import Poller


def answer(values: dict[str, object]) -> bytes:
    return bytes([Packet.CMD_RESPONSE]) + bytes(Message.serialize(values))


@given(st.lists(st.binary(max_size=50), max_size=8), st.lists(st.integers(1, 30), min_size=1))
def test_packets_survive_however_the_stream_is_cut(packets: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(packet) for packet in packets)
    frames, found, turn = Frames(), [], 0
    while data:
        cut = cuts[turn % len(cuts)]
        found += frames.feed(data[:cut])
        data, turn = data[cut:], turn + 1
    assert found == packets


def test_a_length_out_of_step_is_refused() -> None:
    with pytest.raises(ValueError, match="VICI packet of"):
        Frames().feed(b"\xff\xff\xff\xff")


def test_success_is_no_failure() -> None:
    assert failure(answer({"success": "yes", "matches": "1"})) is None


def test_an_answer_without_a_verdict_is_no_failure() -> None:
    assert failure(answer({})) is None


@pytest.mark.parametrize("before", [{}, {"a": {"success": "yes", "b": {"c": "d"}}}, {"matches": "0"}])
def test_the_reason_of_a_failure_is_told(before: dict[str, object]) -> None:
    told = failure(answer({**before, "success": "no", "errmsg": "no matching SAs to terminate found"}))
    assert told == "no matching SAs to terminate found"


def test_an_unknown_command_is_a_failure() -> None:
    assert failure(bytes([Packet.CMD_UNKNOWN])) == "charon does not know the command"


@given(st.binary(max_size=200))
def test_any_bytes_have_a_verdict(packet: bytes) -> None:
    assert failure(packet) is None or failure(packet)


YES = bytes([Packet.CMD_RESPONSE]) + bytes(Message.serialize({"success": "yes"}))
NO = bytes([Packet.CMD_RESPONSE]) + bytes(Message.serialize({"success": "no", "errmsg": "not found"}))


class Server:
    """charon's end."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen()
        self._listener.settimeout(2)
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        connection, _ = self._listener.accept()
        connection.settimeout(2)
        self.accepted.append(connection)
        return connection

    def close(self) -> None:
        for connection in (self._listener, *self.accepted):
            connection.close()


@pytest.fixture(autouse=True)
def deadline() -> Iterator[None]:
    """The poller waits without end: a broken stream must not hang the suite."""

    def late(_number: int, _frame: object) -> None:
        pytest.fail("nothing came")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
def server() -> Iterator[Server]:
    with tempfile.TemporaryDirectory() as directory:
        made = Server(Path(directory) / "vici")
        with contextlib.closing(made):
            yield made


@pytest.fixture
def poller() -> Poller:
    return Poller()


@pytest.fixture
def charon(poller: Poller, server: Server) -> Iterator[ViciStreams]:
    made = ViciStreams(poller)
    made.use(server.path)
    yield made
    made.close()


def turn(poller: Poller, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 2
    while not condition():
        assert time.monotonic() < deadline
        for fd in poller.wait(deadline):
            poller.call(fd)


def packets(connection: socket.socket) -> list[bytes]:
    return Frames().feed(connection.recv(65536))


def test_a_connection_is_open_before_it_is_needed(charon: ViciStreams, server: Server) -> None:
    assert server.accept()
    assert charon


def test_a_request_is_sent_at_once_and_its_success_told(
    charon: ViciStreams, server: Server, poller: Poller
) -> None:
    told: list[str | None] = []
    charon.ask((b"terminate",), told.append, now=0.0)
    connection = server.accept()
    assert packets(connection) == [b"terminate"]
    connection.sendall(framed(YES))
    turn(poller, lambda: told)
    assert told == [None]


def test_each_packet_waits_for_the_success_of_the_one_before(
    charon: ViciStreams, server: Server, poller: Poller
) -> None:
    told: list[str | None] = []
    charon.ask((b"load-conn", b"initiate"), told.append, now=0.0)
    connection = server.accept()
    assert packets(connection) == [b"load-conn"]
    connection.sendall(framed(YES)[:3])
    connection.sendall(framed(YES)[3:])
    turn(poller, lambda: select.select([connection], [], [], 0)[0])
    assert packets(connection) == [b"initiate"]
    connection.sendall(framed(NO))
    turn(poller, lambda: told)
    assert told == ["not found"]


def test_a_failure_ends_the_request(charon: ViciStreams, server: Server, poller: Poller) -> None:
    told: list[str | None] = []
    charon.ask((b"load-conn", b"initiate"), told.append, now=0.0)
    connection = server.accept()
    connection.sendall(framed(NO))
    turn(poller, lambda: told)
    connection.setblocking(False)
    assert packets(connection) == [b"load-conn"]
    with pytest.raises(BlockingIOError):
        connection.recv(1)


def test_a_request_does_not_wait_behind_another(charon: ViciStreams, server: Server, poller: Poller) -> None:
    told: list[str] = []
    charon.ask((b"initiate",), lambda _: told.append("initiate"), now=0.0)
    charon.ask((b"terminate",), lambda _: told.append("terminate"), now=0.0)
    first, second = server.accept(), server.accept()
    assert (packets(first), packets(second)) == ([b"initiate"], [b"terminate"])
    second.sendall(framed(YES))
    turn(poller, lambda: told)
    assert told == ["terminate"]


def test_a_charon_that_dies_fails_the_request_and_the_next_one_is_used(
    charon: ViciStreams, server: Server, poller: Poller
) -> None:
    told: list[str | None] = []
    charon.ask((b"terminate",), told.append, now=0.0)
    server.accept().close()
    turn(poller, lambda: told)
    assert told[0]
    assert told[0].startswith("charon: ")
    charon.tidy(1.0)
    charon.ask((b"again",), told.append, now=1.0)
    assert packets(server.accept()) == [b"again"]


def test_an_idle_connection_that_charon_closes_is_opened_anew(
    charon: ViciStreams, server: Server, poller: Poller
) -> None:
    server.accept().close()
    for fd in poller.wait(time.monotonic() + 2):
        poller.call(fd)
    charon.tidy(1.0)
    assert server.accept()


def test_a_charon_that_never_answers_fails_the_request_in_the_end(
    charon: ViciStreams, server: Server
) -> None:
    told: list[str | None] = []
    charon.ask((b"terminate",), told.append, now=0.0)
    charon.tidy(ike_daemons.DEADLINE - 1)
    assert told == []
    charon.tidy(ike_daemons.DEADLINE)
    assert told == ["charon: no answer within 60 s"]


def test_a_charon_that_cannot_be_reached_fails_the_request_at_once(poller: Poller) -> None:
    told: list[str | None] = []
    charon = ViciStreams(poller)
    charon.use("/nonexistent/charon.vici")
    charon.ask((b"terminate",), told.append, now=0.0)
    assert told == ["/nonexistent/charon.vici cannot be reached"]
