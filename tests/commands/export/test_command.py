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


@pytest.mark.parametrize("what", ["terraform", "swanctl"])
def test_what_others_read_otherwise_is_a_note(what: str, config: pathlib.Path) -> None:
    text = EXAMPLE_YAML.replace("local_id: 198.51.100.10", "local_id: '@office.example.com'")
    config.write_text(text.replace("169.254.10.2/30", "10.254.10.2/30"))
    code, out, err = export(what, config)
    assert code == 0
    assert out
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["note", "connections[0].tunnels[0].local_id", "IdentityNotation"],
        ["note", "connections[0].tunnels[0].inside_address", "InsideAddressForbidden"],
        ["note", "connections[0].tunnels[1].local_id", "IdentityNotation"],
    ]
    if what == "terraform":
        assert "@office" not in out.partition("tunnel_options_specification")[2]
