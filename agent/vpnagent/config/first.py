"""The text of a first configuration, from the few answers that only the operator has. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network

TUNNELS = ("primary", "backup")  #: names, in the order of preference


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the operator knows."""

    connection: str
    attachment: str
    local_networks: tuple[IPv4Network, ...]
    remote_networks: tuple[IPv4Network, ...]
    source_address: IPv4Address
    local_id: IPv4Address  #: this gateway's public address, as the cloud's customer gateway has it
    remote_addresses: tuple[IPv4Address, ...]  #: of one tunnel, or of the active one and the standby
    probe_targets: tuple[IPv4Address, ...]

    def tunnels(self) -> Iterator[tuple[str, IPv4Address]]:
        """Yield the name and the cloud's address of each tunnel."""
        return zip(TUNNELS, self.remote_addresses, strict=False)


def first_configuration(answers: Answers, psk_directory: str) -> str:
    """Return the YAML; the key of each tunnel is a file of its name in ``psk_directory``."""
    tunnels = "\n".join(
        f"      - {{name: {name}, remote_address: {address}, local_id: {answers.local_id},"
        f" psk_file: {psk_directory}/{name}}}"
        for name, address in answers.tunnels()
    )
    return f"""\
# Made by vpnagent init. All keys: vpnagent.yaml(5). Then: vpnagent check; systemctl enable --now vpnagent
version: 1
gateway:
  local_networks: {_list(answers.local_networks)}
  source_address: {answers.source_address}
connections:
  - name: {answers.connection}
    attachment: {answers.attachment}
    remote_networks: {_list(answers.remote_networks)}
    # As in the cloud, exactly. These are its defaults; aes256, sha256 and 14 on both ends are better.
    ike: {{version: 2, encryption: aes128, integrity: sha1, dh_group: 2}}
    esp: {{encryption: aes128, integrity: sha1, pfs_group: 2}}
    probe: {{targets: {_list(answers.probe_targets)}}}
    tunnels:
{tunnels}
"""


def _list(items: tuple[IPv4Network, ...] | tuple[IPv4Address, ...]) -> str:
    return f"[{', '.join(map(str, items))}]"
