from typing import Any

import pytest
from pydantic import ValidationError
from tests.config_examples import EXAMPLE_YAML

from vpnagent.config.draft import draft, file_violations
from vpnagent.config.file_models import ConfigFile
from vpnagent.config.wording import Violation, key_path, said
from vpnagent.config.yaml_positions import read

#: the example with its connection three times
THREE = EXAMPLE_YAML + 2 * EXAMPLE_YAML.partition("connections:\n")[2]


def drafted(text: str) -> Any:
    return draft(read(text.encode()))


def test_a_sound_file_is_taken_as_a_whole() -> None:
    sketch = drafted(THREE)

    assert sketch.violations == ()
    assert sketch.indexes == (0, 1, 2)
    assert len(sketch.file.connections) == 3


def test_a_wrong_value_leaves_out_its_connection_only() -> None:
    [before, one, two, three] = THREE.split("  - name: hangzhou\n")
    wrong = "  - name: hangzhou\n".join([before, one, two.replace("203.0.113.2", "203.0.113"), three])

    sketch = drafted(wrong)

    assert [key_path(path) for path, _ in sketch.violations] == ["connections[1].tunnels[1].remote_address"]
    assert sketch.indexes == (0, 2)
    assert sketch.file.gateway.name == "idc-hz-1"


def test_a_violation_among_what_is_left_gets_its_place_in_the_file() -> None:
    sketch = drafted(THREE.replace("name: hangzhou", "name: [x]", 1))

    assert sketch.indexes == (1, 2)
    assert sketch.relocated(Violation(("connections", 0, "name"), said("x"))) == (
        ("connections", 1, "name"),
        "x",
    )
    assert sketch.relocated(Violation(("gateway", "name"), said("x"))) == (("gateway", "name"), "x")
    assert sketch.relocated(Violation(("connections",), said("x"))) == (("connections",), "x")


def test_a_wrong_gateway_leaves_the_connections() -> None:
    sketch = drafted(EXAMPLE_YAML.replace("[10.1.0.0/16]", "[10.1.0.0]"))

    assert [key_path(path) for path, _ in sketch.violations] == ["gateway.local_networks[0]"]
    assert len(sketch.file.connections) == 1


def test_connections_that_are_no_list_leave_the_gateway() -> None:
    sketch = drafted(EXAMPLE_YAML.partition("connections:")[0] + "connections: {hangzhou: 1}\n")

    assert [key_path(path) for path, _ in sketch.violations] == ["connections"]
    assert sketch.file.connections == ()
    assert sketch.file.gateway.name == "idc-hz-1"


def test_what_could_not_be_read_is_not_reported_as_missing_too() -> None:
    sketch = drafted(EXAMPLE_YAML.replace("name: hangzhou", "name: !x hangzhou"))

    assert sketch.violations == ()
    assert sketch.indexes == ()


def test_a_key_that_stands_twice_leaves_out_its_section() -> None:
    sketch = drafted(EXAMPLE_YAML.replace("    attachment:", "    mtu: 1399\n    mtu: 1398\n    attachment:"))

    assert sketch.violations == ()
    assert sketch.indexes == ()


def plain() -> dict[str, Any]:
    tunnel = {"name": "t", "remote_address": "203.0.113.1", "psk_file": "psk"}
    connection = {
        "name": "hz",
        "attachment": "vpn-gateway",
        "remote_networks": ["172.16.0.0/16"],
        "tunnels": [tunnel],
    }
    return {"gateway": {"local_networks": ["10.1.0.0/16"]}, "connections": [connection]}


def found(data: dict[str, Any]) -> list[str]:
    try:
        ConfigFile.model_validate(data)
    except ValidationError as error:
        return [f"{key_path(path)}: {text}" for path, text in file_violations(error)]
    return []


def with_connection(**changes: Any) -> dict[str, Any]:
    data = plain()
    data["connections"][0].update(changes)
    return data


def with_tunnel(**changes: Any) -> dict[str, Any]:
    data = plain()
    data["connections"][0]["tunnels"][0].update(changes)
    return data


TUNNEL = "connections[0].tunnels[0]"

WRONG: list[tuple[str, dict[str, Any]]] = [
    ("gateway: is required", {"connections": plain()["connections"]}),
    ("gateway: must be a mapping, not a list", plain() | {"gateway": []}),
    ("agent: must be a mapping, not empty", plain() | {"agent": None}),
    ("connections: must be a list, not 'hz'", plain() | {"connections": "hz"}),
    ("connections: must be a list, not a mapping", plain() | {"connections": {}}),
    ("connections: must not be an empty list", plain() | {"connections": []}),
    ("conections: unknown key: did you mean connections?", plain() | {"conections": []}),
    (
        "x: unknown key: known here are version, gateway, agent, connections and hooks",
        plain() | {"x": "hush"},
    ),
    (f"{TUNNEL}.psk: unknown key: did you mean psk_file?", with_tunnel(psk="hush")),
    (f"{TUNNEL}.remote_adress: unknown key: did you mean remote_address?", with_tunnel(remote_adress="hush")),
    (
        f"{TUNNEL}.certificate.key: unknown key: known here are certificate, private_key and ca",
        with_tunnel(certificate={"certificate": "c", "private_key": "k", "ca": "a", "key": "hush"}),
    ),
    (
        f"{TUNNEL}.certificate.ca: is required",
        with_tunnel(certificate={"certificate": "c", "private_key": "k"}),
    ),
    (f"{TUNNEL}.certificate: must be a mapping, not 'cert.pem'", with_tunnel(certificate="cert.pem")),
    ("connections[0].ike.dhgroup: unknown key: did you mean dh_group?", with_connection(ike={"dhgroup": 2})),
    (
        "connections[0].tunnels: must have at most 2 entries, not 3",
        with_connection(tunnels=plain()["connections"][0]["tunnels"] * 3),
    ),
    (
        "connections[0].remote_networks[0]: 10.1.2.3/16 has host bits set: the network is 10.1.0.0/16",
        with_connection(remote_networks=["10.1.2.3/16"]),
    ),
    (
        "connections[0].esp.lifetime: must be a duration from 300s to 24h, not 0",
        with_connection(esp={"lifetime": 0}),
    ),
    ("version: must be 1, not 2", plain() | {"version": 2}),
]


@pytest.mark.parametrize(("line", "data"), WRONG, ids=[line for line, _ in WRONG])
def test_what_is_wrong_with_a_key_is_said_in_our_words(line: str, data: dict[str, Any]) -> None:
    assert found(data) == [line]


def test_a_list_with_a_wrong_entry_is_not_called_empty() -> None:
    assert len(found(with_connection(remote_networks=["10.1.0.0"]))) == 1


def test_a_plain_file_has_no_errors() -> None:
    assert found(plain()) == []


def test_no_finding_of_pydantic_shows_its_own_words() -> None:
    data = with_tunnel(name=7, role=True, targets="x", if_id="1", weight=None, certificate=[], zz={}) | {
        "version": []
    }

    text = " ".join(found(data))

    assert "Input" not in text
    assert "pydantic" not in text
    assert "https" not in text
