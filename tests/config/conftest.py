"""A folder with the example's secrets, and the problems of a YAML text in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.config_examples import BACKUP_PSK, PRIMARY_PSK

from vpnagent.config.load import load
from vpnagent.errors import ConfigError


def write_secret(path: Path, content: bytes, mode: int = 0o600) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_secret(tmp_path / "psk/primary", PRIMARY_PSK + b"\n")
    write_secret(tmp_path / "psk/backup", BACKUP_PSK + b"\n")
    return tmp_path


Problems = Callable[[str], list[str]]


@pytest.fixture
def problems(folder: Path) -> Problems:
    """Return what is wrong with a YAML text: ``line: key: text`` each, without the name of the file."""

    def find(text: str) -> list[str]:
        path = folder / "vpnagent.yaml"
        path.write_text(text)
        try:
            load(path)
        except ConfigError as error:
            return [str(problem).removeprefix(f"{path}:").strip() for problem in error.problems]
        return []

    return find
