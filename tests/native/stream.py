"""The measuring stream: numbered datagrams at a steady rate, and the times at which they arrived.

``python -m tests.native.stream send|receive|echo …``, each a process of its own: a busy interpreter must not
be taken for a gap. Times are monotonic seconds, one clock in all namespaces.
"""

import array
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from types import FrameType

PORT = 7000
_NUMBER = struct.Struct("=I")
_ARRIVAL = struct.Struct("=Id")
_STAMP = struct.Struct("@qq")
_SO_TIMESTAMPNS = 35
_SO_RCVBUFFORCE = 33


@dataclass(frozen=True)
class Arrivals:
    """What came, in the order in which it came."""

    numbers: "array.array[int]"
    times: "array.array[float]"

    def lost(self) -> int:
        """Return how many between the first and the last did not come."""
        return max(self.numbers) - min(self.numbers) + 1 - len(set(self.numbers))

    def longest_gap(self, *, after: float = 0.0, before: float = float("inf")) -> float:
        """Return the longest time without an arrival that ended in this span."""
        ends = range(1, len(self.times))
        gaps = [self.times[n] - self.times[n - 1] for n in ends if after <= self.times[n] <= before]
        return max(gaps, default=0.0)


class Stream:
    """A running stream from one namespace to another."""

    def __init__(self, sender: str, receiver: str, source: str, target: str, *, rate: int = 1000) -> None:
        self._receiver = _run(receiver, "receive", target)
        assert self._receiver.stdout
        self._receiver.stdout.readline()
        self._sender = _run(sender, "send", source, target, str(rate))
        self._receiver.stdout.readline()  # it flows

    def stop(self) -> Arrivals:
        """End it and return what arrived."""
        self._sender.terminate()
        self._sender.wait()
        time.sleep(0.05)
        self._receiver.terminate()
        assert self._receiver.stdout
        with self._receiver.stdout as output:
            data = output.read()
        self._receiver.wait()
        numbers, times = array.array("I"), array.array("d")
        for number, at in _ARRIVAL.iter_unpack(data):
            numbers.append(number)
            times.append(at)
        return Arrivals(numbers, times)


def _run(namespace: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.native.stream", *arguments],
        stdout=subprocess.PIPE if arguments[0] == "receive" else None,
    )


def _send(source: str, target: str, rate: int) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((source, 0))
    number, due = 0, time.monotonic()
    while True:
        with contextlib.suppress(OSError):  # no route: as lost as any other
            sock.sendto(_NUMBER.pack(number), (target, PORT))
        number += 1
        due += 1 / rate
        pause = due - time.monotonic()
        if pause > 0:
            time.sleep(pause)


def _receive(address: str) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 * 1024 * 1024)
    sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    sock.bind((address, PORT))
    arrivals = bytearray()
    ended = False

    def end(_number: int, _frame: FrameType | None) -> None:
        nonlocal ended
        ended = True

    signal.signal(signal.SIGTERM, end)
    sock.settimeout(0.02)
    os.write(1, b"ready\n")
    while not ended:
        try:
            data, control, _, _ = sock.recvmsg(64, 64)
        except TimeoutError:
            continue
        if not arrivals:
            os.write(1, b"flows\n")
        seconds, nanoseconds = _STAMP.unpack_from(control[0][2])
        at = seconds + nanoseconds / 1e9 - time.time() + time.monotonic()
        arrivals += _ARRIVAL.pack(_NUMBER.unpack(data)[0], at)
    with os.fdopen(1, "wb", closefd=False) as output:
        output.write(arrivals)


if __name__ == "__main__":
    if sys.argv[1] == "send":
        _send(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    else:
        _receive(sys.argv[2])
