"""`vpnagent export` as a user meets it: it needs nothing but the YAML, and refuses what cannot be said."""

import pathlib
import subprocess
import sys

import hcl2
import pytest
from tests.config_examples import EXAMPLE_YAML


def export(what: str, config: pathlib.Path) -> tuple[int, str, str]:
    """Run the command in a process of its own; return exit status, standard output, standard error."""
    command = [sys.executable, "-m", "vpnagent", "export", what, "--config", str(config)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    """The example's YAML without the files that it names: they are not there to be opened."""
    path = tmp_path / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML)
    return path


def test_terraform_goes_to_standard_output(config: pathlib.Path) -> None:
    code, out, err = export("terraform", config)
    assert (code, err) == (0, "")
    assert "resource" in hcl2.loads(out)


def test_swanctl_conf_goes_to_standard_output(config: pathlib.Path) -> None:
    code, out, err = export("swanctl", config)
    assert (code, err) == (0, "")
    assert "vpnagent/hangzhou/primary {" in out


def test_what_terraform_cannot_say_is_one_line_with_its_key(config: pathlib.Path) -> None:
    weak = EXAMPLE_YAML.replace("bandwidth:", "ike: {dh_group: 19}\n    bandwidth:")
    config.write_text(weak)
    code, out, err = export("terraform", config)
    assert (code, out) == (2, "")
    [line] = err.splitlines()
    assert line.startswith(f"{config}: connections[0].ike.dh_group: ")
    assert export("swanctl", config)[0] == 0


def test_an_invalid_file_is_a_configuration_error(config: pathlib.Path) -> None:
    config.write_text("nonsense: true\n")
    for what in ("terraform", "swanctl"):
        code, out, err = export(what, config)
        assert (code, out) == (2, "")
        assert "Traceback" not in err
