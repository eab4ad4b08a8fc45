"""A key that somebody pasted into the wrong place is not repeated: by nobody but the terminal he sits at.

There neither, where it looks like a key, or where it stands in the place of a key of the file.
"""

import copy
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.config.test_fuzz import TREES, places
from tests.daemon.test_reloading import World, play
from tests.daemon.test_standing import place, text, write

from vpnagent.config.load import load
from vpnagent.config.wording import may_be_secret
from vpnagent.errors import MOST_TOLD, ConfigError, ControlError
from vpnagent.events.detect import happenings
from vpnagent.events.snapshot import beginning, look
from vpnagent.status import report
from vpnagent.status.document import status

__all__ = ["place"]

SECRET = "Zq7-MisplacedKey-93fTr"
PLAIN = "correct horse"  # looks like no key: the terminal may show it as a value
WRAPPED = ("{}", "{} *", "{}!", "!{}", "/{}", "{}/24", "%{}", "{}\x07")
ODD = (
    *("a: *{}\n", "a: &{0} 1\nb: &{0} 1\n", "a: !{} x\n", "{0}: 1\n{0}: 2\n"),
    *('"\\{}": 1\n', "%{} x\n---\n", "a: b: {}\n", "- {}\n"),
)


def planted(secret: str) -> Iterator[tuple[str, bytes]]:
    """Yield where it was put, and a file with it there: as each value and key, as a tag, anchor and alias."""
    for tree in TREES[1:]:  # the complete one
        for number, (_, key) in enumerate(places(tree)):
            for wrapped in {"{}", WRAPPED[number % len(WRAPPED)]} if secret == SECRET else {"{}"}:
                yield f"value of {key}", changed(tree, number, wrapped.format(secret))
            yield f"key beside {key}", changed(tree, number, 1, name=secret)
    whole = yaml.safe_dump(TREES[0])
    for template in (
        "a: *{}\n",
        "a: &{0} 1\nb: &{0} 1\n",
        "a: !{} x\n",
        "{0}: 1\n{0}: 2\n",
        '"\\{}": 1\n',
        "%{} x\n---\n",
    ):
        yield template, (template.format(secret.replace(" ", "-")) + whole).encode()


def changed(tree: Any, number: int, value: object, name: str = "") -> bytes:
    made = copy.deepcopy(tree)
    container, key = list(places(made))[number]
    if name and isinstance(container, dict):
        container[name] = value
    else:
        container[key] = value
    made["version"] = 3  # what is well formed where it stands is not to be told of another's fault either
    return yaml.safe_dump(made, allow_unicode=True).encode()


def refusal(content: bytes) -> ConfigError:
    with pytest.raises(ConfigError) as refused:
        load("/etc/vpnagent/vpnagent.yaml", content=content)
    return refused.value


@pytest.mark.parametrize("secret", [SECRET, PLAIN])
def test_no_error_repeats_a_key_off_the_terminal_wherever_it_was_put(secret: str) -> None:
    seen = 0
    for where, content in planted(secret):
        told = str(refusal(content).discreet())
        assert secret not in told, (where, told)
        assert "vpnagent.yaml:" in told
        seen += 1
    assert seen > 150


def test_the_terminal_shows_no_key_that_looks_like_one() -> None:
    for where, content in planted(SECRET):
        assert SECRET not in str(refusal(content)), where


def test_the_terminal_shows_the_value_of_a_known_key() -> None:
    tree = copy.deepcopy(TREES[0])
    tree["connections"][0]["bandwidth"] = "fast enough"
    told = str(refusal(yaml.safe_dump(tree).encode()))
    assert "connections[0].bandwidth: must be a rate such as" in told
    assert told.endswith("not 'fast enough'")


def test_an_unknown_key_is_never_repeated() -> None:
    for where, content in planted(PLAIN):
        if where.startswith("key"):
            assert PLAIN not in str(refusal(content)), where


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (SECRET, True), ("aB3$fK9!pQ2z", True), ("0123456789abcdef0123456789abcdef", True),
        ("c2VjcmV0LXBza9hbGliYWJh", True), ("100.64.0.0/10", False), ("2001:db8::1", False),
        ("/etc/vpnagent/psk/primary", False), ("idc-hz-1.example.com", False), ("vpn-bp1x2y3z4a5b6c7", False),
        ("active-standby", False), ("C=CN, O=Example, CN=gateway", False), ("1000Mbps", False), ("", False),
    ],
)  # fmt: skip
def test_what_looks_like_a_key(value: str, expected: bool) -> None:
    assert may_be_secret(value) is expected


def test_of_very_many_problems_the_first_are_told_and_the_rest_counted() -> None:
    """Each later status tells them again, and must stay readable."""
    content = yaml.safe_dump({**TREES[0], **{f"k{number}": 1 for number in range(20_000)}}).encode()
    began = time.monotonic()
    with pytest.raises(ConfigError) as refused:
        load("/etc/vpnagent/vpnagent.yaml", content=content, read_secrets=False)
    error = refused.value
    assert time.monotonic() - began < 60
    assert len(error.problems) == 20_000
    for told in (str(error), str(error.discreet())):
        assert len(told.splitlines()) == MOST_TOLD + 1
        assert told.endswith(f"and {20_000 - MOST_TOLD} problems more")


def test_what_a_daemon_tells_of_a_refused_file_has_no_value(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer, its status, its log, and its events, which hooks are told of."""
    caplog.set_level(logging.DEBUG)
    bad = {
        "role": text("new").replace(b"name: primary", f"name: primary, role: {PLAIN}".encode()),
        "key": text("new").replace(b"name: primary", f"name: primary, {PLAIN}: x".encode()),
        "name": text("new").replace(b"name: new", f"name: {PLAIN}!".encode()),
        "file": text("new").replace(b"key.psk", f'"{PLAIN}"'.encode()),
    }

    async def scene(world: World) -> None:
        for content in bad.values():
            write(place, content)
            at = time.time()
            before = beginning(world.known, at)
            with pytest.raises(ControlError) as refused:
                await world.reloader.reload()
            report.refresh(world.known, at)
            told = [*happenings(before, look(world.known, before, at), at)]
            assert told, "the refusal is an event"
            seen = [str(refused.value), json.dumps(status(world.known)), repr(told), caplog.text]
            seen.append(json.dumps(await world.reloader.preview()))
            for one in seen:
                assert PLAIN not in one
            assert "vpnagent.yaml:" in str(refused.value)

    play(place, scene)
