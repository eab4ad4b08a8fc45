"""SAs that charon has under a former name of their tunnel. Pure.

charon names an IKE_SA after the connection that it was negotiated for, as long as it and its successors
live, and negotiates in it for another connection to the same peer, or nothing where nothing differs (seen
with 5.9.8). So a tunnel that has another name in the file keeps its SAs, if it is the same to the kernel and
to the peer: they are known by the interface id of what carries, and by the peer's address.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from vpnagent.ipsec.actions import Connection
from vpnagent.ipsec.sa import ChildSa, IkeSa

Names = Mapping[str, str]  #: present VICI name by former one


def present_names(sas: Iterable[IkeSa], want: Mapping[str, Connection]) -> dict[str, str]:
    """Return, for each former name, that of the tunnel whose traffic the SAs carry."""
    tunnels = {(wanted.if_id, wanted.remote_address): name for name, wanted in want.items()}
    return {
        sa.connection: tunnels[child.if_id, sa.remote_host]
        for sa in sas
        if sa.connection not in want
        for child in sa.carrying_children
        if (child.if_id, sa.remote_host) in tunnels
    }


def under_present_names(sas: Iterable[IkeSa], names: Names) -> tuple[IkeSa, ...]:
    """Return the SAs as if they had been negotiated under the names that their tunnels have now."""
    return tuple(_named(sa, names[sa.connection]) if sa.connection in names else sa for sa in sas)


def _named(sa: IkeSa, name: str) -> IkeSa:
    was, now = _tunnel(sa.connection), _tunnel(name)

    def renamed(child: ChildSa) -> ChildSa:
        former = child.name == was or child.name.startswith(f"{was}.")  # IKEv1 numbers them
        return replace(child, name=now + child.name.removeprefix(was)) if former else child

    return replace(sa, connection=name, children=tuple(map(renamed, sa.children)))


def _tunnel(name: str) -> str:
    return name.rpartition(".")[2]
