from typing import Any

from tests.config_examples import EXAMPLE_YAML

from vpnagent.config.draft import draft
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
