import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.config_examples import EXAMPLE_YAML

from vpnagent.config.schema import main, schema, tables
from vpnagent.config.yaml_positions import read

DOCS = Path(__file__).parents[2] / "docs"
SOURCES = [EXAMPLE_YAML, (DOCS / "example.yaml").read_text()]


def valid(data: Any) -> bool:
    return jsonschema.Draft202012Validator(schema()).is_valid(data)


def fields() -> Iterator[tuple[str, dict[str, Any]]]:
    found = schema()
    for name, section in {"": found, **found["$defs"]}.items():
        for key, field in section["properties"].items():
            yield f"{name}.{key}", field


def test_the_committed_schema_is_that_of_the_models() -> None:
    # To renew it: python -m vpnagent.config.schema > docs/vpnagent.schema.json
    assert json.loads((DOCS / "vpnagent.schema.json").read_text()) == schema()


def test_the_documented_keys_are_those_of_the_models() -> None:
    # To renew them: python -m vpnagent.config.schema --tables
    manual = (DOCS / "configuration.md").read_text()
    written = manual.partition("--tables` -->\n")[2].partition("<!-- end of keys -->")[0]

    assert written.strip() == tables().strip()


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("text", SOURCES)
def test_the_examples_satisfy_the_schema(text: str) -> None:
    assert valid(read(text.encode()).data)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version: 1", "version: 2"),
        ("bandwidth:", "bandwith:"),
        ("200Mbps", "200MB"),
        ("attachment: vpn-gateway", "attachment: vpn"),
        ("if_id: 1", "if_id: 0"),
        ("        psk_file: psk/primary\n", ""),
        ("psk_file: psk/primary", "psk_file: psk/primary\n        psk_credential: primary"),
        ("name: hangzhou", "name: hang zhou"),
        ("name: hangzhou", "name: 7"),
        ("[10.1.0.0/16]", "[]"),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(old: str, new: str) -> None:
    assert old in EXAMPLE_YAML
    assert not valid(read(EXAMPLE_YAML.replace(old, new, 1).encode()).data)


def test_every_key_has_a_description_and_the_name_of_its_kind() -> None:
    for name, field in fields():
        assert field["description"].endswith("."), name
        assert field["title"], name
        assert "default" not in field or field["default"] is not None, name


def test_every_default_satisfies_its_own_kind() -> None:
    definitions = schema()["$defs"]
    for _, field in fields():
        if "default" in field:
            jsonschema.validate(field["default"], {**field, "$defs": definitions})


def test_the_module_prints_both(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert json.loads(capsys.readouterr().out) == schema()
    main(["--tables"])
    assert capsys.readouterr().out == tables()


def test_it_runs_as_a_command() -> None:
    command = [sys.executable, "-m", "vpnagent.config.schema"]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout

    assert printed == (DOCS / "vpnagent.schema.json").read_text()


def test_values_and_rules_do_not_import_pydantic() -> None:
    # The prober and `vpnagent status` share them; pydantic alone costs 150 ms and 20 MiB.
    modules = ("values", "units", "wording", "rules", "address_rules", "weaknesses")
    imports = "; ".join(f"import vpnagent.config.{module}" for module in modules)
    code = f"import sys; {imports}; print({{'pydantic', 'yaml'}} & sys.modules.keys())"

    assert (
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
        == "set()\n"
    )
