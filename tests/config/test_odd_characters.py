"""Characters that look like others, or like nothing: said in words, on their own line, by code point."""

import pytest
from tests.config.conftest import Problems
from tests.config_examples import EXAMPLE_YAML

from vpnagent.config.yaml_positions import read

LINES = EXAMPLE_YAML.splitlines()

#: what is replaced, by what, the line of the mistake, and how it is said
MISTAKES = {
    "tab": ("    attachment:", "\tattachment:", 8, "begins with a tab (U+0009): write spaces"),
    "tab before a dash": (
        "  - name: hangzhou",
        "\t- name: hangzhou",
        7,
        "begins with a tab (U+0009): write spaces",
    ),
    "no-break space": (
        "    attachment:",
        "   \u00a0attachment:",
        8,
        "a no-break space (U+00A0): write a space",
    ),
    "after a colon": ("name: idc-hz-1", "name:\u00a0idc-hz-1", 3, "a no-break space (U+00A0): write a space"),
    "wide space": (
        "name: hangzhou",
        "name:\u3000hangzhou",
        7,
        "an ideographic space (U+3000): write a space",
    ),
    "nothing": ("name: hangzhou", "name: hang\u200bzhou", 7, "a zero-width space (U+200B): delete it"),
    "mark": ("name: hangzhou", "name: hangzhou\ufeff", 7, "a byte order mark (U+FEFF): delete it"),
    "in quotes": ("name: hangzhou", 'name: "hang\u00a0zhou"', 7, "a no-break space (U+00A0): write a space"),
    "colon": (
        "    attachment: vpn-gateway",
        "    attachment\uff1avpn-gateway",
        8,
        "a full-width colon (U+FF1A): write ':'",
    ),
    "colon of a section": ("gateway:", "gateway\uff1a", 2, "a full-width colon (U+FF1A): write ':'"),
    "colon and an empty line": (
        "gateway:\n",
        "gateway\uff1a\n\n  # \u7f51\uff1a\u5173\n\n",
        2,
        "a full-width colon (U+FF1A): write ':'",
    ),
    "colon and space": (
        "    bandwidth: 200",
        "    bandwidth\uff1a 200",
        9,
        "a full-width colon (U+FF1A): write ':'",
    ),
    "comma": ("10, 172", "10\uff0c172", 10, "a full-width comma (U+FF0C): write ','"),
    "comma and space": ("10, 172", "10\uff0c 172", 10, "a full-width comma (U+FF0C): write ','"),
    "list comma": ("10, 172", "10\u3001172", 10, "an ideographic comma (U+3001): write ','"),
    "curly quotes": (
        "name: hangzhou",
        "name: \u201changzhou\u201d",
        7,
        "a curly quotation mark (U+201C): write '\"'",
    ),
    "single curly": (
        "name: hangzhou",
        "name: \u2018hangzhou\u2019",
        7,
        'a curly quotation mark (U+2018): write "\'"',
    ),
    "digits": ("if_id: 2", "if_id: \uff12", 29, "a full-width 2 (U+FF12): write '2'"),
    "brackets": ("[10.1.0.0/16]", "\uff3b10.1.0.0/16\uff3d", 4, "a full-width [ (U+FF3B): write '['"),
    "full stop": ("203.0.113.1", "203\u30020.113.1", 14, "an ideographic full stop (U+3002): write '.'"),
    "dash": ("vpn-gateway", "vpn\u2013gateway", 8, "a dash (U+2013): write '-'"),
    "at": (
        "local_id: 198.51.100.10\n        psk_file: psk/primary",
        "local_id: @office\n        psk_file: psk/primary",
        16,
        "a value must not begin with '@' (U+0040): put it in quotes",
    ),
    "percent": (
        "local_address: 192.0.2.2",
        "local_address: %any",
        15,
        "a value must not begin with '%' (U+0025): put it in quotes",
    ),
    "backquote": (
        "name: idc-hz-1",
        "name: `idc-hz-1`",
        3,
        "a value must not begin with '`' (U+0060): put it in quotes",
    ),
    "asterisk": ("psk_file: psk/backup", "psk_file: *backup", 26, "'*' (U+002A) at the beginning of a value"),
    "asterisks": ("psk_file: psk/backup", "psk_file: ****", 26, "'*' (U+002A) at the beginning of a value"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_said_in_words_on_its_own_line(name: str, problems: Problems) -> None:
    old, new, line, words = MISTAKES[name]
    assert old in EXAMPLE_YAML
    found = problems(EXAMPLE_YAML.replace(old, new, 1))
    assert any(one.startswith(f"{line}: ") and words in one for one in found), found
    assert not any("token" in one or "scanning" in one for one in found)


HARMLESS = {
    "a comment": ("gateway:", "gateway:  # 网关\uff1a名称\uff0c\u201cidc\u201d\u3000\u00a0\tx"),
    "a comment of its own": ("gateway:", "# 网关\uff1a名称\uff0c\u201cidc\u201d\u3000\ngateway:"),
    "a comment with a tab": ("gateway:", "gateway:\t# 网关"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_comments_may_hold_anything(name: str, problems: Problems) -> None:
    assert problems(EXAMPLE_YAML.replace(*HARMLESS[name], 1)) == []


def test_a_comment_beside_a_mistake_is_not_blamed(problems: Problems) -> None:
    [found] = problems(EXAMPLE_YAML.replace("if_id: 2", "if_id: 0  # 备用\uff1a二"))
    assert "U+" not in found


def test_a_mistake_elsewhere_does_not_blame_them(problems: Problems) -> None:
    text = EXAMPLE_YAML.replace("gateway:", "gateway:  # 网关\uff1a名称", 1).replace("if_id: 2", "if_id: 0")
    [found] = problems(text)
    assert "U+" not in found
    hook = "hooks:\n  - name: pager\n    command: [/bin/say, 告警\uff1a隧道]\n    retries: 3\n    x: [1\n"
    for broken in (
        EXAMPLE_YAML.replace("gateway:", "gateway:  # 网关\uff1a名称", 1) + "x: [1\n",
        EXAMPLE_YAML + hook,
    ):
        assert not any("U+" in one for one in problems(broken))


def test_chinese_text_that_is_a_value_is_let_be(problems: Problems) -> None:
    hook = "hooks:\n  - {name: pager, command: [/bin/say, '告警\uff1a隧道\uff0c断开']}\n"
    assert problems(EXAMPLE_YAML + hook) == []


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_lines_are_counted_as_the_parser_counts_them(end: str, problems: Problems) -> None:
    found = problems(EXAMPLE_YAML.replace("if_id: 2", "if_id: \uff12").replace("\n", end))
    assert "29: holds a full-width 2 (U+FF12): write '2'" in found


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gateway\uff1a\n\n\n  name: x\n", 1),
        ("gateway\uff1a\n  # \u7f51\uff1a\u5173\n  name: x\n", 1),
        ("connections:\n  - name\uff1ax\n\n    tunnels: []\n", 2),
    ],
)
def test_what_the_parser_notices_late_is_told_where_it_is(text: str, line: int) -> None:
    [fault] = read(text.encode()).faults
    assert (fault.line, fault.text) == (line, "is not YAML: holds a full-width colon (U+FF1A): write ':'")


def test_in_quotes_it_is_no_reason_that_a_parser_stumbles() -> None:
    [fault] = read("a: '\uff1a'\nb: c: d\n".encode()).faults
    assert (fault.line, fault.text) == (2, "is not YAML: mapping values are not allowed in this context")
