"""What the kernel knows of the MTU on the way to where a socket is connected, ip(7). A shell."""

import socket
from typing import Final

IP_MTU: Final = 14
IP_MTU_DISCOVER, IP_PMTUDISC_DO = 10, 2


def forbid_fragments(sock: socket.socket) -> None:
    """Have a socket send with DF, and refuse with EMSGSIZE what is known not to fit."""
    sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)


def known_mtu(sock: socket.socket) -> int:
    """Return the bytes of IP packet that fit, as far as the kernel knows."""
    return sock.getsockopt(socket.IPPROTO_IP, IP_MTU)
