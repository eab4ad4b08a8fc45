"""The IKE daemons: ours is told to terminate and to initiate (VICI), the peers' are asked whether they live.

Of VICI the prober knows framing, and whether a command succeeded: the commands are bytes that the control
daemon made, and of an answer only ``success`` and ``errmsg`` are read (strongSwan
src/libcharon/plugins/vici/README.md, "Message encoding"). The ping is a template of ``probe.craft``, of which
the SPI is patched. A shell.
"""

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address
from typing import Final

from vpnagent.config.values import TunnelKey
from vpnagent.probe.inbox import Allowance, Poller, attach
from vpnagent.probe.intent import TunnelIntent
from vpnagent.probe.packets import LOAD_32, Test, between, filter_program

CMD_RESPONSE: Final = 1
CMD_UNKNOWN: Final = 2
_SECTION_START = 1
_SECTION_END = 2
_KEY_VALUE = 3
_MAXIMUM = 512 * 1024  #: bytes, VICI's own limit of a packet
_LENGTH = struct.Struct("!I")
_VALUE_LENGTH = struct.Struct("!H")

DEADLINE = 60.0  #: seconds for an answer; a negotiation has ended by then, or charon is stuck
MAXIMUM = 64  #: connections
_READ = 64 * 1024  #: bytes

IKE_PORT: Final = 500
SPI_SIZE: Final = 8
NONCE_SIZE: Final = 4  #: octets of the SPI that all pings of a process share, for the filter to know
_IKE_HEADER = 28  # octets, RFC 7296 §3.1
_VERSION_OFFSET = 17
_FLAGS_OFFSET = 19
_IKE_RESPONSE = 0x20
_IKEV2 = 2
_UDP_HEADER = 8
OUTSTANDING = 1024  #: pings that may await an answer; the oldest are forgotten
_MESSAGE = 4096  #: bytes

OnAnswer = Callable[[str | None], None]  #: told why the request failed, or None


class Frames:
    """Cuts a byte stream into packets, each after its length."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Take in what was read; return the packets that are complete. ValueError: out of step."""
        self._data += data
        packets = []
        while len(self._data) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._data)
            if length > _MAXIMUM:
                raise ValueError(f"VICI packet of {length} octets")
            if len(self._data) < _LENGTH.size + length:
                break
            packets.append(self._data[_LENGTH.size : _LENGTH.size + length])
            self._data = self._data[_LENGTH.size + length :]
        return packets


def framed(packet: bytes) -> bytes:
    """Return a packet as it goes onto the stream."""
    return _LENGTH.pack(len(packet)) + packet


def failure(packet: bytes) -> str | None:
    """Return why the command that a packet answers failed; None: it did not."""
    if not packet or packet[0] == CMD_UNKNOWN:
        return "charon does not know the command"
    if packet[0] != CMD_RESPONSE:
        return f"unexpected answer of type {packet[0]}"
    try:
        values = _top_values(packet)
    except (IndexError, struct.error):
        return "the answer cannot be read"
    if values.get(b"success", b"yes") == b"yes":
        return None
    return values.get(b"errmsg", b"").decode("utf-8", "replace") or "refused"


def _top_values(packet: bytes) -> dict[bytes, bytes]:
    values: dict[bytes, bytes] = {}
    at, depth = 1, 0
    while at < len(packet):
        kind = packet[at]
        at += 1
        if kind == _SECTION_END:
            depth -= 1
            continue
        if kind not in (_SECTION_START, _KEY_VALUE):
            break  # a list: nothing behind it concerns us
        name = packet[at + 1 : at + 1 + packet[at]]
        at += 1 + packet[at]
        if kind == _SECTION_START:
            depth += 1
            continue
        (length,) = _VALUE_LENGTH.unpack_from(packet, at)
        if not depth:
            values[name] = packet[at + 2 : at + 2 + length]
        at += 2 + length
    return values


class _Stream:
    """One connection to charon."""

    __slots__ = ("deadline", "done", "frames", "socket", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.frames = Frames()
        self.waiting: list[bytes] = []  #: packets of the request not yet sent
        self.done: OnAnswer | None = None  #: None: idle
        self.deadline = 0.0


class ViciStreams:
    """The prober's connections to charon: prebuilt commands out, success or failure in, never waiting.

    charon answers the commands of one connection in their order and an ``initiate`` takes as long as the
    negotiation, so each request has a connection for itself. One is kept open in advance: when it is needed,
    there is no time to lose.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._path = ""
        self._streams: list[_Stream] = []

    def use(self, path: str) -> None:
        """Take the path of charon's socket, and connect in advance."""
        if path != self._path:
            self._path = path
            for stream in [s for s in self._streams if s.done is None]:
                self._close(stream)
        self._open_one_in_advance()

    def ask(self, packets: tuple[bytes, ...], done: OnAnswer, *, now: float) -> None:
        """Send the packets one after the other, each when the one before succeeded; then call ``done``."""
        idle = [stream for stream in self._streams if stream.done is None]
        stream = idle[0] if idle else self._open()
        if stream is None or not packets:
            done(None if stream else f"{self._path} cannot be reached")
            return
        stream.done, stream.deadline, stream.waiting = done, now + DEADLINE, list(packets)
        self._send_next(stream)

    def tidy(self, now: float) -> None:
        """Give up what charon does not answer, and connect in advance. For once a second."""
        for stream in [s for s in self._streams if s.done and s.deadline <= now]:
            self._fail(stream, f"no answer within {DEADLINE:g} s")
        for stream in [s for s in self._streams if s.done is None][1:]:
            self._close(stream)
        self._open_one_in_advance()

    def close(self) -> None:
        """Drop all connections."""
        for stream in list(self._streams):
            self._close(stream)

    def _open_one_in_advance(self) -> None:
        if self._path and not any(stream.done is None for stream in self._streams):
            self._open()

    def _open(self) -> _Stream | None:
        if len(self._streams) >= MAXIMUM:
            return None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            return None
        stream = _Stream(sock)
        self._streams.append(stream)
        self._poller.watch(sock.fileno(), lambda: self._readable(stream))
        return stream

    def _send_next(self, stream: _Stream) -> None:
        data = framed(stream.waiting.pop(0))
        try:
            sent = stream.socket.send(data)
        except OSError as error:
            self._fail(stream, f"cannot be asked: {error.strerror}")
            return
        if sent != len(data):
            self._fail(stream, "does not read")

    def _readable(self, stream: _Stream) -> None:
        try:
            data = stream.socket.recv(_READ)
            packets = stream.frames.feed(data)
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._fail(stream, str(error))
            return
        if not data:
            self._fail(stream, "closed the connection")
        for packet in packets:
            self._answered(stream, packet)

    def _answered(self, stream: _Stream, packet: bytes) -> None:
        if stream.done is None:
            return
        reason = failure(packet)
        if reason is None and stream.waiting:
            self._send_next(stream)
            return
        done, stream.done, stream.waiting = stream.done, None, []
        done(reason)

    def _fail(self, stream: _Stream, reason: str) -> None:
        self._close(stream)
        done, stream.done = stream.done, None
        if done:
            done(f"charon: {reason}")

    def _close(self, stream: _Stream) -> None:
        with contextlib.suppress(ValueError):
            self._streams.remove(stream)
        self._poller.forget(stream.socket.fileno())
        stream.socket.close()


def ike_request(template: bytes, spi: bytes) -> bytes:
    """Return the IKE ping with this initiator SPI.

    Is the peer's IKE daemon alive, without touching an SA? An IKE_SA_INIT that offers only private-use
    transforms, which no configuration can accept, so that the peer answers NO_PROPOSAL_CHOSEN and keeps no
    state (RFC 7296 §2.7, §3.3.2; a real weak transform could be accepted, and a half-open SA counts against
    the peer's block threshold). It comes from an ephemeral port: 500 and 4500 belong to charon, and §2.23 has
    a responder answer to the port it was asked from.
    """
    if len(template) < _IKE_HEADER or len(spi) != SPI_SIZE:
        raise ValueError("an IKE ping has a header of 28 octets and an SPI of 8")
    return spi + template[SPI_SIZE:]


def ike_answered(message: bytes) -> bytes | None:
    """Return the initiator SPI that a message answers; None for what is no answer.

    Any message that carries it back is one: NO_PROPOSAL_CHOSEN, INVALID_KE_PAYLOAD, COOKIE or
    INVALID_MAJOR_VERSION.
    """
    if len(message) < _IKE_HEADER:
        return None
    # IKEv1 knows no response flag; a peer that speaks only that may still say so.
    if message[_VERSION_OFFSET] >> 4 >= _IKEV2 and not message[_FLAGS_OFFSET] & _IKE_RESPONSE:
        return None
    return message[:SPI_SIZE]


def ike_filter(nonce: bytes, ends: bytes = b"") -> bytes:
    """Return the filter of a UDP socket that passes what carries our SPIs back, between these ``ends``."""
    return filter_program((Test(LOAD_32, _UDP_HEADER, int.from_bytes(nonce)),), ends, udp=True)


class IkeSockets:
    """Asks peers' IKE daemons for a sign of life: one socket for each local address, bound to no interface.

    They follow the host's own routes, never a tunnel: a configuration in which a tunnel's networks cover its
    peer's address is refused.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._sockets: dict[str, socket.socket] = {}
        self._asked: dict[tuple[bytes, str], TunnelKey] = {}
        self._ends: dict[TunnelKey, tuple[IPv4Address | None, IPv4Address]] = {}
        self._nonce = os.urandom(NONCE_SIZE)  #: what every SPI of ours begins with

    def use(self, tunnels: Iterable[TunnelIntent]) -> None:
        """Take other tunnels; where their addresses are others, so are the sockets."""
        ends = {tunnel.key: (tunnel.local_address, tunnel.remote_address) for tunnel in tunnels}
        if ends != self._ends:
            self._ends = ends
            self.forget_all()

    @property
    def open(self) -> bool:
        """Whether anybody was asked yet."""
        return bool(self._sockets)

    def send(self, tunnel: TunnelIntent, template: bytes) -> None:
        """Send one ping; OSError when it did not leave."""
        local = str(tunnel.local_address or "")
        sock = self._sockets.get(local) or self._open(local)
        spi = self._nonce + os.urandom(SPI_SIZE - NONCE_SIZE)
        peer = str(tunnel.remote_address)
        sock.sendto(ike_request(template, spi), (peer, IKE_PORT))
        if len(self._asked) >= OUTSTANDING:
            del self._asked[next(iter(self._asked))]
        self._asked[spi, peer] = tunnel.key

    def drain(self, allowance: Allowance) -> Iterator[TunnelKey]:
        """Yield the tunnels whose peers answered, as far as it is allowed to look."""
        for sock in self._sockets.values():
            yield from self._drain(sock, allowance)

    def _drain(self, sock: socket.socket, allowance: Allowance) -> Iterator[TunnelKey]:
        while allowance.left > 0:
            allowance.left -= 1
            try:
                message, sender = sock.recvfrom(_MESSAGE)
            except BlockingIOError:
                allowance.left += 1
                return
            except OSError:  # an ICMP error: the peer's host may live, its IKE daemon did not answer
                continue
            spi = ike_answered(message)
            tunnel = self._asked.pop((spi, sender[0]), None) if spi else None
            if tunnel:
                yield tunnel

    def _open(self, local: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        sock.setblocking(False)
        peers = {remote.packed for _, remote in self._ends.values()}
        try:
            attach(sock, ike_filter(self._nonce, between(peers, ())))
            sock.bind((local, 0))
        except OSError:
            sock.close()
            raise
        self._sockets[local] = sock
        self._poller.watch(sock.fileno(), lambda: None)  # all sockets are drained at every wake-up
        return sock

    def forget_all(self) -> None:
        """Close the sockets: addresses may have changed."""
        for sock in self._sockets.values():
            self._poller.forget(sock.fileno())
            with contextlib.suppress(OSError):
                sock.close()
        self._sockets.clear()
