"""What is written reads as what was meant, by our reader and by YAML 1.1."""

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from vpnagent.commands.import_.json_object import Source
from vpnagent.commands.import_.yaml_text import (
    Item,
    Leaf,
    OpenQuestion,
    OutlineSection,
    Remark,
    Sequence,
    rendered,
    scalar,
)
from vpnagent.config.yaml_positions import read

PRINTABLE = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=150)


@given(PRINTABLE)
@example("0x10")
@example("1e3")
@example("no")
@example("# x")
@example("12:30")
@example("2026-01-01")
@example("\U0001f512")
def test_a_text_reads_as_itself(text: str) -> None:
    line = f"key: {scalar(text)}"
    assert read(line.encode()).data == {"key": text}
    assert yaml.safe_load(line) == {"key": text}


def test_addresses_and_names_are_written_without_quotes() -> None:
    for text in ("203.0.113.1", "10.0.0.0/8", "aes128", "3des", "1Gbps", "hangzhou-1", "/etc/vpnagent/psk"):
        assert scalar(text) == text


def test_an_outline_becomes_lines_with_origins_questions_and_remarks() -> None:
    source = Source("file.json", ("A", 0))
    tunnel = (Leaf("name", "a"), Remark("beware."), OpenQuestion("role", "active", "is it?"))
    entries = (
        Leaf("version", 1),
        OutlineSection("gateway", (Leaf("local_networks", ("10.0.0.0/8", "10.1.0.0/16"), (source,)),)),
        Sequence("tunnels", (Item(source, tunnel),)),
    )
    result = rendered("Heading.", entries)
    assert result.text.splitlines() == [
        "# Heading.",
        "version: 1",
        "gateway:",
        "  local_networks: [10.0.0.0/8, 10.1.0.0/16]  # file.json $.A[0]",
        "tunnels:",
        "  - name: a",
        "    # NOTE: beware.",
        "    # TO FILL IN: is it?",
        "    # role: active",
    ]
    assert [(line, path) for line, path, _ in result.said] == [
        (7, ("tunnels", 0)),
        (9, ("tunnels", 0, "role")),
    ]
