"""Ask the charon of this machine whether it has IKE version 1. A shell: one UDP packet to 127.0.0.1.

No message of VICI tells: a charon that was built without it takes ``version = 1`` in load-conn, registers the
same algorithms, and fails when it is to initiate (strongSwan 6.0.6, src/libcharon/sa/task_manager.c). But it
answers a main mode of IKE version 1 with INVALID_MAJOR_VERSION, in IKE version 2 (network/receiver.c). One
that has it looks for the IKE_SA of the message's two SPIs, finds none, and says nothing: no state is made.
"""

import asyncio
import os
import socket
from typing import Final

IKE_PORT: Final = 500
PATIENCE: Final = 0.3  #: seconds for an answer on the loopback interface

_SPIS: Final = 16  #: octets of both
_HEADER: Final = 28  #: octets, RFC 2408 §3.1 and RFC 7296 §3.1
_VERSION: Final = 17  #: offset
_IDENTITY_PROTECTION: Final = 2  #: the exchange type of main mode


async def has_ikev1(address: tuple[str, int] = ("127.0.0.1", IKE_PORT)) -> bool | None:
    """Return whether charon speaks IKE version 1; None where nobody listens. Raises OSError."""
    loop = asyncio.get_running_loop()
    request = _main_mode(os.urandom(_SPIS))
    with socket.socket(
        socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    ) as sock:
        sock.connect(address)
        try:
            async with asyncio.timeout(PATIENCE):
                await loop.sock_sendall(sock, request)
                while not _refuses(await loop.sock_recv(sock, 512), request):
                    pass
        except ConnectionRefusedError:
            return None
        except TimeoutError:
            return True
    return False


def _main_mode(spis: bytes) -> bytes:
    """Return a message of IKE version 1 that has a header and nothing else."""
    octets = (0, 0x10, _IDENTITY_PROTECTION, 0, *bytes(4))  # no payload, version 1.0, …, message id 0
    return spis + bytes(octets) + _HEADER.to_bytes(4, "big")


def _refuses(answer: bytes, request: bytes) -> bool:
    """Whether this is an answer to our message, in the other version."""
    return len(answer) >= _HEADER and answer[:8] == request[:8] and answer[_VERSION] >> 4 == 2  # noqa: PLR2004
