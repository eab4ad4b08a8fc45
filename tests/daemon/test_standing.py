"""What a start runs, from the file, what stood before, and a change that nobody confirmed."""

from pathlib import Path

import pytest

from vpnagent.daemon.memory import STANDING, UNCONFIRMED, Standing, Unconfirmed
from vpnagent.errors import ConfigError

KEY = "not-a-secret-of-anybody"
BROKEN = b"version: 1\nconnections: nonsense\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a key; the example below names it relatively, as one may."""
    key = tmp_path / "key.psk"
    key.write_text(KEY + "\n")
    key.chmod(0o600)
    return tmp_path


def text(name: str) -> bytes:
    """A configuration of a gateway of that name."""
    return f"""
version: 1
gateway: {{name: {name}, local_networks: [10.1.0.0/16], source_address: 10.1.0.1}}
connections:
  - name: hangzhou
    attachment: vpn-gateway
    remote_networks: [100.64.0.0/10]
    probe: {{targets: [172.16.0.10]}}
    tunnels:
      - {{name: primary, remote_address: 203.0.113.1, local_address: 192.0.2.2, psk_file: key.psk}}
""".encode()


def standing(place: Path) -> Standing:
    return Standing(str(place / "vpnagent.yaml"), str(place / "state"))


def write(place: Path, content: bytes) -> None:
    (place / "vpnagent.yaml").write_bytes(content)


def test_a_good_file_is_used(place: Path) -> None:
    write(place, text("new"))
    loaded = standing(place).start()
    assert (loaded.config.gateway.name, loaded.content, loaded.error) == ("new", text("new"), None)


def test_without_anything_that_stands_a_broken_file_is_refused_as_it_is(place: Path) -> None:
    write(place, BROKEN)
    with pytest.raises(ConfigError, match=r"vpnagent\.yaml"):
        standing(place).start()


@pytest.mark.parametrize("content", [BROKEN, None])
def test_instead_of_a_broken_or_missing_file_what_stood_runs_and_the_error_is_told(
    place: Path, content: bytes | None
) -> None:
    standing(place).keep(text("old"))
    if content is not None:
        write(place, content)
    loaded = standing(place).start()
    assert loaded.config.gateway.name == "old"
    assert loaded.error is not None
    assert "vpnagent.yaml" in loaded.error


def test_an_unconfirmed_change_is_used_within_its_time_and_not_after(place: Path) -> None:
    standing(place).keep(text("old"))
    write(place, text("new"))
    assert standing(place).await_confirmation(text("new"), 3600) is None
    assert standing(place).start().config.gateway.name == "new"
    assert 3590 < standing(place).remaining(text("new")) <= 3600

    assert standing(place).await_confirmation(text("new"), 0) is None
    loaded = standing(place).start()
    assert loaded.config.gateway.name == "old"
    assert loaded.error is not None
    assert "not confirmed" in loaded.error


def test_another_file_than_the_one_taken_back_is_used(place: Path) -> None:
    standing(place).keep(text("old"))
    standing(place).await_confirmation(text("new"), 0)
    write(place, text("newer"))
    assert standing(place).start().config.gateway.name == "newer"


def test_what_is_kept_is_not_taken_back(place: Path) -> None:
    standing(place).await_confirmation(text("new"), 3600)
    assert standing(place).keep(text("new")) is None
    assert standing(place).remaining(text("new")) == 0
    assert standing(place).unconfirmed() is None


def test_a_reboot_takes_an_unconfirmed_change_back() -> None:
    change = Unconfirmed(digest="", deadline=100.0, boot_id="this boot")
    assert not change.expired("this boot", 99.0)
    assert change.expired("this boot", 100.0)
    assert change.expired("another boot", 1.0)


def test_a_change_with_nothing_to_go_back_to_stays(place: Path) -> None:
    write(place, text("new"))
    standing(place).await_confirmation(text("new"), 0)
    assert standing(place).start().config.gateway.name == "new"


@pytest.mark.parametrize("rubbish", [b"", b"[]", b'{"digest": 1}', b"\xff", b"[" * 100_000])
def test_an_unreadable_note_takes_nothing_back(place: Path, rubbish: bytes) -> None:
    write(place, text("new"))
    (place / "state").mkdir()
    (place / "state" / UNCONFIRMED).write_bytes(rubbish)
    assert standing(place).start().config.gateway.name == "new"


def test_no_key_is_kept_and_nobody_else_may_read_it(place: Path) -> None:
    write(place, text("new"))
    standing(place).keep(standing(place).start().content)
    kept = place / "state" / STANDING
    assert KEY not in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


def test_a_directory_that_cannot_be_written_is_one_line(place: Path) -> None:
    (place / "state").write_text("a file")
    problem = standing(place).keep(text("new"))
    assert problem is not None
    assert "\n" not in problem
