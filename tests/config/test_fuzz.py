"""Whatever is in the file, load() returns a Config or raises ConfigError.

VPNAGENT_FUZZ_EXAMPLES says how many files are tried (2,000 by default).
"""

import copy
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.config.conftest import write_secret
from tests.config_examples import EXAMPLE_YAML, PRIMARY_PSK

from vpnagent.config.files import Absence
from vpnagent.config.load import UnreadSecrets, load
from vpnagent.config.rules import violations
from vpnagent.config.schema import differences
from vpnagent.config.values import Config
from vpnagent.config.weaknesses import weaknesses
from vpnagent.daemon.live_change import kernel_changes
from vpnagent.errors import ConfigError

EXAMPLES = int(os.environ.get("VPNAGENT_FUZZ_EXAMPLES", "2000"))
COMPLETE_YAML = (Path(__file__).parents[2] / "docs/example.yaml").read_text()
TEXTS = [EXAMPLE_YAML, COMPLETE_YAML]
TREES = [yaml.safe_load(text) for text in TEXTS]

ODD_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**32, 2**64, 10**30, 0.5, 1e308, -0.0, math.nan, math.inf,
    "", " ", "no", "x" * 5000, "\x00", "a\nb", "\x1b[2J", "\u2028", "é", "🔒", "%any", "%d",
    "*", "..", "/", "all",
    "0.0.0.0/0", "10.1.2.3/16", "10.0.0.0/8", "203.0.113.0/24", "0.0.0.0", "255.255.255.255", "127.0.0.1",
    "203.0.113.1", "203.0.113.2", "169.254.10.1/30", "2001:db8::1", "2001:db8::/32", "1.2.3", "[::1]:80",
    "active", "standby", "ecmp", "aggressive", "networks", "disabled", "des", "3des", "aes128gcm16",
    "sm4", "md5",
    "@office", "10.0.0.1-10.0.0.9", "fqdn:^gw.+$", "office:1", "198.51.100.010", 24, "private",
    "100ms", "0s", "1e3s", "nan", "9" * 30, "64kbps", "1MBps", "psk/backup", "/proc/self/mem", "/dev/zero",
    "hangzhou", "primary", "vpn-hz-1", "x" * 33, [], {}, [[]], [None], {"a": 1}, {"": None}, [{"name": "x"}],
]  # fmt: skip

Step = tuple[int, str, Any]
steps = st.tuples(
    st.integers(0, 10_000),
    st.sampled_from(["drop", "replace", "rename", "double", "swap"]),
    st.sampled_from(ODD_VALUES) | st.text(max_size=8) | st.integers() | st.floats(),
)


def places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Return every container with each of its keys or indexes."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from places(tree[key])


def mutated(tree: Any, changes: list[Step]) -> bytes:
    """Return the YAML of a tree after structural changes."""
    tree = copy.deepcopy(tree)
    for number, kind, value in changes:
        found = list(places(tree))
        if not found:
            break
        container, key = found[number % len(found)]
        match kind:
            case "drop":
                del container[key]
            case "replace":
                container[key] = copy.deepcopy(value)
            case "rename" if isinstance(container, dict):
                container[value if isinstance(value, str | int) else "name"] = container.pop(key)
            case "double" if isinstance(container, list):
                container.append(copy.deepcopy(container[key]))
            case _:
                other, place = found[(number * 7 + 1) % len(found)]
                container[key] = copy.deepcopy(other[place])
    text: bytes = yaml.dump(
        tree, Dumper=yaml.CSafeDumper, encoding="utf-8", allow_unicode=True, sort_keys=False
    )
    return text


Edit = tuple[int, str, bytes]
edits = st.tuples(
    st.integers(0, 10_000),
    st.sampled_from(["flip", "truncate", "insert", "delete", "repeat"]),
    st.binary(min_size=1, max_size=4)
    | st.sampled_from([b"&a ", b"*a", b"<<: ", b"!!x ", b"- ", b"{", b"[", b"'", b'"', b"\t", b"? ", b"|"])
    | st.sampled_from([piece.encode() for piece in ("\u00a0", "\u3000", "\uff1a", "\uff0c ", "\u201c")])
    | st.sampled_from([b"@", b"%", b": @", b"- *"])
    | st.sampled_from([b"\n---\n", b"\xef\xbb\xbf", b"\n...\n", b"\r", b"# "]),
)  # fmt: skip


def edited(text: str, changes: list[Edit]) -> bytes:
    """Return a text after changes of its bytes."""
    content = bytearray(text.encode())
    for number, kind, piece in changes:
        at = number % (len(content) + 1)
        match kind:
            case "flip":
                content[at : at + 1] = bytes(byte ^ piece[0] for byte in content[at : at + 1])
            case "truncate":
                del content[at:]
            case "insert":
                content[at:at] = piece
            case "delete":
                del content[at : at + len(piece)]
            case _:
                end = content.find(b"\n", at) + 1
                content[end:end] = content[at:end]
    return bytes(content)


contents = (
    st.builds(mutated, st.sampled_from(TREES), st.lists(steps, min_size=1, max_size=4))
    | st.builds(edited, st.sampled_from(TEXTS), st.lists(edits, min_size=1, max_size=4))
    | st.binary(max_size=200)
)

Check = Callable[[bytes], None]


@pytest.fixture(scope="module")
def check(tmp_path_factory: pytest.TempPathFactory) -> Check:
    folder = tmp_path_factory.mktemp("fuzz")
    for name in ("primary", "backup", "zone-a", "zone-b"):
        write_secret(folder / "psk" / name, PRIMARY_PSK)
    path = folder / "vpnagent.yaml"

    def load_and_judge(content: bytes) -> None:
        path.write_bytes(content)
        try:
            config = load(path)
        except ConfigError as error:
            judge_error(error)
        else:
            judge_config(config)

    return load_and_judge


def judge_error(error: ConfigError) -> None:
    lines = str(error).splitlines()
    assert lines
    assert len(lines) == len(error.problems) == len(set(lines))
    assert [problem.line for problem in error.problems] == sorted(problem.line for problem in error.problems)
    assert PRIMARY_PSK.decode() not in str(error)
    assert all(line.isprintable() for line in lines)
    assert all(problem.text for problem in error.problems)


def judge_config(config: Config) -> None:
    assert violations(config) == []
    assert not [f for f in weaknesses(config) if PRIMARY_PSK.decode() in f.text + f.hint or not f.text]
    assert differences(config, config) == []
    assert kernel_changes(config, config) == []
    assert config.tunnels()
    for tunnel in config.tunnels():
        assert tunnel.probe.targets
        assert tunnel.psk or tunnel.certificates
        assert 1 <= len(tunnel.interface) <= 15


@pytest.mark.slow("two thousand files, each read as a whole")
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=contents)
def test_no_file_whatever_raises_anything_but_config_error(check: Check, content: bytes) -> None:
    check(content)


@settings(max_examples=EXAMPLES // 10, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=contents)
def test_without_any_key_the_same_files_are_refused_and_for_the_same_reasons(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "elsewhere.yaml"
    path.write_bytes(content)
    unseen = UnreadSecrets({Absence.MISSING, Absence.OUTSIDE})
    try:
        load(path, unseen=unseen)
        alone: tuple[str, ...] = ()
    except ConfigError as error:
        alone = tuple(f"{problem.key}: {problem.text}" for problem in error.problems)
    try:
        load(path, read_secrets=False)
        without = None
    except ConfigError as error:
        without = tuple(f"{problem.key}: {problem.text}" for problem in error.problems)
    assert set(without or ()) <= set(alone)
    of_secrets = [line for line in alone if without is None or line not in without]
    assert all(re.search(r"(psk_|certificate|metrics_|hooks)", line) for line in of_secrets), of_secrets


@pytest.mark.parametrize("text", TEXTS)
def test_unchanged_the_texts_are_valid(check: Check, text: str) -> None:
    check(text.encode())
