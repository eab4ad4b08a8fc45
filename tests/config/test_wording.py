import pytest

from vpnagent.config.wording import SHOWN, closest, key_path, listed, shown


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
