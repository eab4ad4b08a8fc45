"""Craft the intricate probe packets with scapy: ``python -m vpnagent.probe.craft`` prints them as JSON.

Runs for half a second when a configuration is loaded, in a process of its own: scapy is GPL-2.0-only and
costs 36 MiB, so neither the prober nor the control daemon loads it. The prober patches the packets.
"""

import os
import sys

from scapy.contrib.ikev2 import IKEv2, IKEv2_KE, IKEv2_Nonce, IKEv2_Proposal, IKEv2_SA, IKEv2_Transform
from scapy.layers.dns import DNS, DNSQR
from scapy.layers.inet import TCP

from vpnagent.probe.intent import Crafted
from vpnagent.probe.protocol import encode

PRIVATE_USE = (
    65001  #: transform id and DH group that nobody implements (RFC 7296 §3.3.2: 65001 in 1024-65535)
)
MSS = 1360  #: bytes; the target never sends data


def crafted() -> Crafted:
    """Return one packet of each kind."""
    return Crafted(ike_ping=ike_ping(), tcp_syn=tcp_syn(), dns_query=dns_query())


def ike_ping() -> bytes:
    """Return an IKE_SA_INIT that no configuration can accept."""
    transforms = None
    for kind in (4, 3, 2, 1):  # DH group, integrity, PRF, encryption: the last of a chain comes first
        follows = 3 if transforms else 0
        transform = IKEv2_Transform(transform_type=kind, transform_id=PRIVATE_USE, next_payload=follows)
        transforms = transform / transforms if transforms else transform
    packet = (
        IKEv2(init_SPI=bytes(8), resp_SPI=bytes(8), next_payload="SA", exch_type=34, flags="Initiator")
        / IKEv2_SA(next_payload="KE", prop=IKEv2_Proposal(trans_nb=4, trans=transforms))
        / IKEv2_KE(next_payload="Nonce", group=PRIVATE_USE, ke=os.urandom(32))
        / IKEv2_Nonce(next_payload=0, nonce=os.urandom(32))
    )
    return bytes(packet)


def tcp_syn() -> bytes:
    """Return the header of a SYN."""
    return bytes(TCP(sport=0, dport=0, seq=0, flags="S", window=64240, options=[("MSS", MSS)]))


def dns_query() -> bytes:
    """Return the query that every resolver can answer from its cache: the name servers of the root."""
    return bytes(DNS(id=0, rd=1, qd=DNSQR(qname=".", qtype="NS")))


if __name__ == "__main__":
    sys.stdout.buffer.write(encode(crafted()))
