"""The configuration there is, held against what the documents tell: where the cloud has moved on.

Only what is told is compared. Connections and tunnels are the same where the cloud's address is, whatever
they are called; a connection that no document is about is nobody's drift.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from vpnagent.commands.import_.assemble import SHARED, Assembly
from vpnagent.commands.import_.json_object import DocumentFacts, DocumentValue, Told, same, written
from vpnagent.commands.import_.peers import ImportedConnection, ImportedTunnel, by_pair
from vpnagent.config import units, values
from vpnagent.config.wording import KeyPath, key_path
from vpnagent.config.yaml_positions import Document
from vpnagent.errors import Problem

_OF_CONNECTION: Final = (
    "attachment",
    "gateway_id",
    "network_type",
    "bandwidth",
    "remote_networks",
    "traffic_selectors",
)
_OF_TUNNEL: Final = ("role", "remote_address", "remote_id", "local_id", "inside_address")


@dataclass(frozen=True, slots=True)
class Present:
    """The configuration in force, and the text it was read from."""

    name: str
    document: Document
    config: values.Config

    def drift(self, path: KeyPath, text: str) -> Problem:
        """Return a difference at a path of the text."""
        return Problem(self.name, self.document.line(path), key_path(path), text)


def drift(assembly: Assembly, present: Present) -> list[Problem]:
    """Return every difference, in the order of the file. Raises nothing: both sides are valid."""
    found: list[Problem] = []
    if all("local_networks" not in connection.facts for connection in assembly.connections):
        found += _values(assembly.gateway, ("local_networks",), present, ("gateway",), present.config.gateway)
    for connection in assembly.connections:
        index = _index(connection, present.config)
        if index is None:
            text = f"there is no connection {connection.name.value}, as in {connection.view.where}"
            found.append(present.drift(("connections",), text))
        else:
            found += _connection(connection, present, index)
    return sorted(dict.fromkeys(found), key=lambda problem: problem.line)


def not_compared(assembly: Assembly, config: values.Config) -> list[str]:
    """Return the connections that no document is about."""
    known = {_index(connection, config) for connection in assembly.connections}
    return [connection.name for index, connection in enumerate(config.connections) if index not in known]


def _index(connection: ImportedConnection, config: values.Config) -> int | None:
    """Return which of the present connections a document is about."""
    ends = {(_told(t.facts, "remote_address"), _told(t.facts, "local_id")) for t in connection.tunnels}
    for index, there in enumerate(config.connections):  # two lines may lead to one address
        if any((str(tunnel.remote_address), tunnel.local_id) in ends for tunnel in there.tunnels):
            return index
    remote = {address for address, _ in ends}
    for index, there in enumerate(config.connections):
        if any(str(tunnel.remote_address) in remote for tunnel in there.tunnels):
            return index
    names = [there.name for there in config.connections]
    return names.index(str(connection.name.value)) if connection.name.value in names else None


def _connection(connection: ImportedConnection, present: Present, index: int) -> Iterator[Problem]:
    here = ("connections", index)
    there = present.config.connections[index]
    connection = _with_untold_pairs(connection, present.config, there)
    yield from _values(connection.facts, _OF_CONNECTION, present, here, there)
    if there.local_networks:
        yield from _values(connection.facts, ("local_networks",), present, here, there)
    else:
        yield from _values(
            connection.facts, ("local_networks",), present, ("gateway",), present.config.gateway
        )
    left = dict(enumerate(there.tunnels))
    matched: dict[int, ImportedTunnel] = {}
    for tunnel in connection.tunnels:
        match = _match(tunnel, left)
        if match is None:
            name = _told(tunnel.facts, "remote_address") or tunnel.name.value
            text = f"there is no tunnel to {name}, as in {tunnel.view.where}"
            yield present.drift((*here, "tunnels"), text)
        else:
            path, old = (*here, "tunnels", match), left.pop(match)
            matched[match] = tunnel
            yield from _tunnel(tunnel, present, path, old)
            if connection.says("bgp", "off") and old.inside_address:
                text = f"{old.inside_address}, but BGP is off in {connection.facts['bgp'].sources[0]}"
                text += ": the cloud has no address inside the tunnel"
                yield present.drift((*path, "inside_address"), text)
    yield from _settings(matched, present, here)
    for number, old in left.items():
        text = f"{old.name}, to {old.remote_address}, is not in {connection.view.where}"
        yield present.drift((*here, "tunnels", number), text)


def _with_untold_pairs(
    connection: ImportedConnection, config: values.Config, there: values.Connection
) -> ImportedConnection:
    """Return the connection with all the networks, if it is a document of one of the pairs they make."""
    if connection.parts or not by_pair(connection):
        return connection
    have = {"local_networks": config.local_networks_of(there), "remote_networks": there.remote_networks}
    facts = dict(connection.facts)
    for key, networks in have.items():
        told, all_of_them = facts[key], tuple(map(str, networks))
        if isinstance(told.value, tuple) and set(told.value) < set(all_of_them):
            facts[key] = replace(told, value=all_of_them)
    return replace(connection, view=replace(connection.view, facts=facts))


def _settings(matched: Mapping[int, ImportedTunnel], present: Present, here: KeyPath) -> Iterator[Problem]:
    """Yield what differs of the settings that tunnels may share: once where all of them differ alike."""
    there = present.config.connections[int(here[1])]
    for key in SHARED:
        differing: dict[int, tuple[DocumentValue, Told]] = {}
        for number, tunnel in matched.items():
            have = _as_written(key, _setting(there, there.tunnels[number], key))
            if key in tunnel.facts and not _agrees(key, tunnel.facts[key].value, have):
                differing[number] = have, tunnel.facts[key]
        alike = len({(have, told.value) for have, told in differing.values()}) == 1
        once = alike and len(differing) == len(there.tunnels)
        for number, (have, told) in list(differing.items())[: 1 if once else None]:
            place = here if once else (*here, "tunnels", number)
            yield present.drift((*place, *key.split(".")), _difference(have, told))


def _setting(connection: values.Connection, tunnel: values.Tunnel, key: str) -> object:
    phase, _, name = key.partition(".")
    match phase:
        case "ike":
            return getattr(connection.ike_of(tunnel), name)
        case "esp":
            return getattr(connection.esp_of(tunnel), name)
        case _:
            return connection.udp_encapsulation_of(tunnel)


def _match(tunnel: ImportedTunnel, present: Mapping[int, values.Tunnel]) -> int | None:
    """Return which of the present tunnels this one is: by its address, else by its name."""
    remote = _told(tunnel.facts, "remote_address")
    by_address = [number for number, old in present.items() if str(old.remote_address) == remote]
    ours = _told(tunnel.facts, "local_id")
    by_address.sort(key=lambda number: present[number].local_id != ours)
    by_name = [number for number, old in present.items() if old.name == tunnel.name.value]
    return next(iter(by_address + by_name), None)


def _tunnel(
    tunnel: ImportedTunnel, present: Present, path: KeyPath, there: values.Tunnel
) -> Iterator[Problem]:
    yield from _values(tunnel.facts, _OF_TUNNEL, present, path, there)
    if tunnel.psk and there.psk and tunnel.psk != there.psk:
        yield present.drift((*path, "psk_file"), f"is another key than {tunnel.facts['psk'].sources[0]}")


def _values(
    facts: DocumentFacts, keys: tuple[str, ...], present: Present, path: KeyPath, there: object
) -> Iterator[Problem]:
    for key in keys:
        if key not in facts:
            continue
        parts = key.split(".")
        value = there
        for part in parts:
            value = getattr(value, part)
        have = _as_written(key, value)
        if not _agrees(key, facts[key].value, have):
            yield present.drift((*path, *parts), _difference(have, facts[key]))


def _difference(have: DocumentValue, told: Told) -> str:
    return f"{written(have)}, but {written(told.value)} in {told.sources[0]}"


def _agrees(key: str, told: DocumentValue, have: DocumentValue) -> bool:
    match key:
        case "bandwidth":
            return units.rate(told) == units.rate(have)
        case "gateway_id":  # optional: what is not written is not wrong
            return have in ("none", told)
        case "udp_encapsulation":  # both agree to NAT traversal
            return (told == "never") == (have == "never")
        case _:
            return same(told, have)


def _as_written(key: str, value: object) -> DocumentValue:
    """Return a value of the configuration as the documents' facts would write it."""
    match value:
        case float() if key == "bandwidth":
            return f"{value / 1e6:g}Mbps"
        case enum.Enum():
            return str(value.value)
        case tuple():
            return tuple(map(str, value))
        case bool():
            return value
        case int() | float():
            return int(value)
        case None:
            return "disabled" if key == "esp.pfs_group" else "none"
        case _:
            return str(value)


def _told(facts: DocumentFacts, key: str) -> DocumentValue | None:
    return facts[key].value if key in facts else None
