import copy
import dataclasses
import json
import logging
import pickle
import pprint
import traceback
from pathlib import Path

import pytest
from tests.config_examples import BACKUP_PSK, EXAMPLE_YAML, PRIMARY_PSK, make_config

from vpnagent.config.load import load
from vpnagent.errors import ConfigError
from vpnagent.policy.desired import desired
from vpnagent.secret import Secret

HUSH = Secret(b"hush")


def shows(text: str) -> bool:
    """Whether a text holds a secret of the example, as it is or as bytes are written."""
    return any(
        spelling in text
        for psk in (PRIMARY_PSK, BACKUP_PSK)
        for spelling in (psk.decode(), psk.hex(), str(list(psk)))
    )


def test_a_secret_shows_stars() -> None:
    ways = [repr(HUSH), str(HUSH), f"{HUSH}", f"{HUSH:>9}", f"{HUSH!s}", format(HUSH, "s")]

    assert set(ways) == {"***"}


def test_only_reveal_leads_to_the_content() -> None:
    assert HUSH.reveal() == b"hush"
    assert not hasattr(HUSH, "__dict__")
    with pytest.raises(TypeError):
        bytes(HUSH)  # type: ignore[call-overload]


def test_a_secret_is_neither_pickled_nor_written_as_json() -> None:
    for write in (pickle.dumps, json.dumps, copy.deepcopy):
        with pytest.raises(TypeError) as caught:
            write(HUSH)
        assert "hush" not in str(caught.value)


def test_secrets_of_the_same_content_are_equal() -> None:
    assert Secret(b"hush") == HUSH
    assert hash(Secret(b"hush")) == hash(HUSH)
    assert Secret(b"hush!") != HUSH
    assert HUSH != b"hush"


def test_a_digest_depends_on_content_and_key() -> None:
    digests = {HUSH.digest(key=b"1"), HUSH.digest(key=b"2"), Secret(b"hush!").digest(key=b"1")}

    assert len(digests) == 3
    assert HUSH.digest(key=b"1") == Secret(b"hush").digest(key=b"1")


def test_no_way_of_writing_the_configuration_shows_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    config = make_config()
    logger = logging.getLogger("test")
    with caplog.at_level(logging.DEBUG):
        logger.info("config %s", config)
        logger.info("config %r", config, extra={"config": config})
    texts = [
        caplog.text,
        repr(config),
        f"{config}",
        pprint.pformat(config),
        repr(desired(config, {})),
        repr([tunnel.psk for tunnel in config.tunnels()]),
        json.dumps(config, default=str),
    ]

    assert not any(map(shows, texts))


def test_asdict_does_not_copy_a_secret_out() -> None:
    # asdict() deep-copies what is no dataclass, and a Secret refuses.
    with pytest.raises(TypeError, match=r"^a Secret is not pickled$"):
        dataclasses.asdict(make_config())


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (PRIMARY_PSK, 0o644),
        (PRIMARY_PSK + b" ", 0o600),
        (PRIMARY_PSK * 500, 0o600),
        (b"\x00" + PRIMARY_PSK, 0o600),
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, content: bytes, mode: int) -> None:
    (tmp_path / "psk").mkdir()
    for name in ("primary", "backup"):
        (tmp_path / "psk" / name).write_bytes(content)
        (tmp_path / "psk" / name).chmod(mode)
    path = tmp_path / "vpnagent.yaml"
    path.write_text(EXAMPLE_YAML)

    with pytest.raises(ConfigError) as caught:
        load(path)

    error = caught.value
    assert len(error.problems) == 2
    assert not shows(
        str(error) + repr(error) + repr(error.problems) + "".join(traceback.format_exception(error))
    )
