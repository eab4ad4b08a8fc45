import pytest
from tests.config_examples import make_config

from vpnagent.config.wording import SHOWN, closest, connections, key_path, listed, repeated, shown, tunnels


def test_a_path_reads_like_the_contract_says() -> None:
    assert key_path(("connections", 0, "tunnels", 1, "remote_address")) == (
        "connections[0].tunnels[1].remote_address"
    )
    assert key_path(()) == ""


def test_a_key_that_is_no_word_is_quoted() -> None:
    assert key_path(("gateway", "a b", "")) == "gateway['a b']['']"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "empty"),
        (True, "true"),
        (7, "7"),
        (0.5, "0.5"),
        ("no", "'no'"),
        ("a\nb\x1b\u2028", "'a\\nb\\x1b\\u2028'"),
        ({"psk": "hush"}, "a mapping"),
        (["hush"], "a list"),
        (("hush",), "a list"),
    ],
)
def test_a_value_is_shown_in_one_line_and_collections_only_by_kind(value: object, text: str) -> None:
    assert shown(value) == text


def test_a_long_value_is_cut() -> None:
    assert shown("x" * 1000) == "'" + "x" * (SHOWN - 3) + "…'"
    assert len(shown("x" * 1000)) == SHOWN


def test_words_are_listed() -> None:
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"], "and")] == [
        "a",
        "a or b",
        "a, b and c",
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [("tunels", "tunnels"), ("psk", "psk_file"), ("remote-id", "remote_id"), ("x", None), ("zebra", None)],
)
def test_a_misspelt_word_finds_its_neighbour(word: str, meant: str | None) -> None:
    assert closest(word, ["tunnels", "psk_file", "remote_id", "xylophone"]) == meant


def test_every_part_is_visited_with_its_path() -> None:
    config = make_config()

    assert [path for path, _ in connections(config)] == [("connections", 0)]
    assert [(place.path, place.tunnel.name) for place in tunnels(config)] == [
        (("connections", 0, "tunnels", 0), "primary"),
        (("connections", 0, "tunnels", 1), "backup"),
    ]
    assert next(tunnels(config)).key("name") == ("connections", 0, "tunnels", 0, "name")


def test_each_repetition_names_the_first() -> None:
    assert list(repeated(enumerate("abcaba"))) == [(3, "a", 0), (4, "b", 1), (5, "a", 0)]
