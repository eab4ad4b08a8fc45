"""Attaches a filter to a socket: the one place that does, for probe sockets, taps and captures.

What came in before the filter stands is still there: whoever reads it must tell it apart.
"""

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26


def attach(sock: socket.socket, program: bytes) -> None:
    """Let only what a classic BPF program passes into the socket, in place of what another one passed.

    Raises OSError: ENOMEM beyond net.core.optmem_max, EINVAL for what is no program (socket(7)).
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: number of instructions of eight octets, and where they are.
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
