"""What the daemon tells keepalived, in a file."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.config_examples import make_config, make_pair

from vpnagent.config.values import Device
from vpnagent.daemon.pair import HealthTeller
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.pair.health import PATIENCE


@pytest.fixture
def known(tmp_path: Path) -> Knowledge:
    config = make_config(
        gateway={"pair": make_pair(Device.A)}, agent={"control_socket": str(tmp_path / "control.sock")}
    )
    return Knowledge(config=config, loaded_at=0.0)


def test_a_charon_that_is_gone_is_told_and_so_is_its_return(known: Knowledge, tmp_path: Path) -> None:
    teller, file = HealthTeller(known), tmp_path / "pair.health"

    def told(now: float) -> str:
        teller.look(now)
        return file.read_text()

    assert told(0.0) == "0\n", "nothing is known before charon was asked: no reason to give up"
    known.charon.connected, known.charon.error = False, "nobody listens"
    assert [told(1.0), told(1.0 + PATIENCE / 2), told(1.0 + PATIENCE)] == ["0\n", "0\n", "-254\n"]
    known.charon.connected, known.charon.error = True, None
    assert told(9.0) == "0\n"


def test_a_file_that_cannot_be_written_is_told_once_and_tried_again(
    known: Knowledge, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    agent = replace(known.config.agent, control_socket=str(tmp_path / "taken" / "control.sock"))
    known.config = replace(known.config, agent=agent)
    (tmp_path / "taken").touch()
    teller = HealthTeller(known)
    teller.look(0.0)
    teller.look(1.0)
    assert [record.message.partition(" ")[0] for record in caplog.records] == ["health-not-told"]
    (tmp_path / "taken").unlink()
    teller.look(2.0)
    assert (tmp_path / "taken" / "pair.health").read_text() == "0\n"
