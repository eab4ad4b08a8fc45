"""What every section of the file is made of, and the sections of a pair of gateways. See ``file_models``."""

from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from vpnagent.config import kinds

Addresses = tuple[Annotated[IPv4Address, kinds.ADDRESS], ...]
Networks = Annotated[
    tuple[Annotated[IPv4Network, kinds.NETWORK], ...],
    Field(min_length=1, title="list of IPv4 networks"),
]

InterfaceNames = tuple[Annotated[str, kinds.INTERFACE], ...]


class Section(BaseModel):
    """A mapping of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def key(description: str, default: Any = None, **more: Any) -> Any:
    """Return a field with a default as the file would write it; None leaves the default to ``build``."""
    return Field(default=default, description=description, validate_default=default is not None, **more)


def required(description: str) -> Any:
    """Return a field without a default."""
    return Field(description=description)


class NodeUplinkSection(Section):
    """A network in which `local_address` of tunnels moves from one gateway to the other."""

    interface: Annotated[str, kinds.INTERFACE] = required("The interface, of one name on both gateways.")
    address: Annotated[IPv4Address, kinds.ADDRESS] = required(
        "This gateway's own address there, which never moves."
    )


class NodeSection(Section):
    """One of two gateways. This machine is the one that has the address, or else the host name."""

    host: Annotated[str, kinds.HOST] = required("Its host name, whole or up to the first dot.")
    address: Annotated[IPv4Address, kinds.ADDRESS] = required(
        "Its own address in the LAN, which never moves to the other one."
    )
    name: Annotated[str | None, kinds.NAME] = key(
        "Its name in status, logs and metrics. Default: the first label of `host`."
    )
    source_address: Annotated[IPv4Address | None, kinds.ADDRESS] = key(
        "As `gateway.source_address`, of this one. Default: that."
    )
    uplinks: tuple[NodeUplinkSection, ...] = key(
        "Where addresses of tunnels move: `export keepalived` needs its own ones there.", []
    )


class NodesSection(Section):
    """The two gateways."""

    a: NodeSection = required("The one that tunnels call `a`.")
    b: NodeSection = required("The one that tunnels call `b`.")


class PairSection(Section):
    """Two gateways for one data centre (docs/two-gateways.md); both have this same file."""

    nodes: NodesSection = required("The two gateways.")
    virtual_addresses: Addresses = key(
        "Addresses of the LAN that keepalived moves from one to the other: the hosts' gateway. "
        "`export keepalived` needs them.",
        [],
        title="list of IPv4 addresses",
    )
    secret_file: Annotated[str | None, kinds.FILE] = key(
        "File of the secret by which the two know each other's word (UDP port 9787 between their addresses); "
        "named, owned and closed as `psk_file`. Default: they do not talk."
    )
