"""What goes wrong on purpose, without starting a process.

nftables runs inside this one (libnftables), on a context opened in the namespace of each internet path; links
are set down through sockets opened there. Every fault lasts until `clear`.
"""

from __future__ import annotations

import ctypes
from typing import Literal

from lab.topology import TUNNELS, Topology, Tunnel
from pyroute2 import IPRoute

Direction = Literal["both", "outbound", "inbound"]
What = Literal["everything", "esp", "ike"]

# In UDP 4500 four zero bytes before the payload tell IKE from the SPI of an ESP packet.
MATCHES: dict[What, tuple[str, ...]] = {
    "everything": ("",),
    "esp": ("ip protocol esp", "udp dport 4500 @th,64,32 != 0"),
    "ike": ("udp dport 500", "udp dport 4500 @th,64,32 0"),
}
TABLE = """
table ip faults {{}}
delete table ip faults
table ip faults {{
    chain forward {{
        type filter hook forward priority 0; policy accept;
        {rules}
    }}
}}
"""


class Nft:
    """A libnftables context that belongs to the namespace it was opened in."""

    _library = ctypes.CDLL("libnftables.so.1")
    _library.nft_ctx_new.restype = ctypes.c_void_p
    _library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p

    def __init__(self) -> None:
        self._context = ctypes.c_void_p(self._library.nft_ctx_new(0))
        self._library.nft_ctx_buffer_error(self._context)

    def run(self, ruleset: str) -> None:
        """Apply a ruleset in one transaction."""
        if self._library.nft_run_cmd_from_buffer(self._context, ruleset.encode()):
            raise RuntimeError(self._library.nft_ctx_get_error_buffer(self._context).decode())

    def close(self) -> None:
        """Free the context."""
        self._library.nft_ctx_free(self._context)


class Faults:
    """Faults of the internet paths and of the gateway's own wires."""

    def __init__(self, topology: Topology) -> None:
        self._nft: dict[Tunnel, Nft] = {}
        self._links: dict[Tunnel, IPRoute] = {}
        for tunnel in TUNNELS:
            with topology[tunnel.net].entered():
                self._nft[tunnel] = Nft()
                self._links[tunnel] = IPRoute()
        self._ports = {t: self._links[t].link_lookup(ifname="gw")[0] for t in TUNNELS}

    def drop(self, tunnel: Tunnel, what: What = "everything", direction: Direction = "both") -> None:
        """Drop what the tunnel's path forwards; `outbound` is from the gateway to the cloud."""
        side = {"both": "", "outbound": 'iifname "gw" ', "inbound": 'oifname "gw" '}[direction]
        rules = "\n".join(f"{side}{match} drop" for match in MATCHES[what])
        self._nft[tunnel].run(TABLE.format(rules=rules))

    def police(self, tunnel: Tunnel, packets: int) -> None:
        """Drop what exceeds so many packets per second, towards the cloud, as its own policer does."""
        rule = f'iifname "gw" limit rate over {packets}/second burst 1 packets drop'
        self._nft[tunnel].run(TABLE.format(rules=rule))

    def swallow(self, tunnel: Tunnel, size: int) -> None:
        """Drop IP packets of more than `size` bytes towards the cloud without a word: an MTU black hole."""
        self._nft[tunnel].run(TABLE.format(rules=f'iifname "gw" meta length > {size} drop'))

    def carrier(self, tunnel: Tunnel, *, up: bool) -> None:
        """Take the carrier of the gateway's uplink away, or give it back, at the far end of its wire."""
        self._links[tunnel].link("set", index=self._ports[tunnel], state="up" if up else "down")

    def heal(self, tunnel: Tunnel) -> None:
        """The tunnel's path forwards everything again; the other's stays as it is."""
        self._nft[tunnel].run(TABLE.format(rules=""))

    def clear(self) -> None:
        """Everything works again."""
        for tunnel in TUNNELS:
            self.heal(tunnel)
            self.carrier(tunnel, up=True)

    def close(self) -> None:
        """Close sockets and contexts."""
        for tunnel in TUNNELS:
            self._nft[tunnel].close()
            self._links[tunnel].close()
