"""Members are read as what they are, in either of the API's spellings."""

import json
from typing import Any

import pytest

from vpnagent.commands.import_.json_object import DocumentReading, JsonError, JsonObject, Source, parse
from vpnagent.errors import Problem


def made(**members: Any) -> JsonObject:
    return JsonObject(Source("file", ("A",)), members, DocumentReading())


def refused(holder: JsonObject) -> list[str]:
    return list(map(str, holder.problems))


@pytest.mark.parametrize("value", [86400, "86400"])
def test_a_number_may_be_a_text(value: Any) -> None:
    assert made(L=value).integer("L") == 86400


@pytest.mark.parametrize("value", [True, -1, "-1", "1e3", "²", 1.5, "12345678901"])
def test_what_is_no_whole_number_is_refused(value: Any) -> None:
    holder = made(L=value)
    assert holder.integer("L") is None
    assert refused(holder)[0].startswith("file: $.A.L: must be a whole number, not ")


@pytest.mark.parametrize("value", [True, "true"])
def test_a_truth_value_may_be_a_text(value: Any) -> None:
    assert made(E=value).boolean("E") is True


@pytest.mark.parametrize("value", [None, ""])
def test_what_is_not_set_is_absent_and_no_problem(value: Any) -> None:
    holder = made(V=value)
    readers = (holder.text, holder.integer, holder.boolean, holder.address, holder.secret)
    assert [read("V") for read in readers] == [None] * len(readers)
    assert not holder.object("V")
    assert not holder.objects("V", "V")
    assert not holder.problems


@pytest.mark.parametrize("value", ["a\nb", "\x7f", "\ud800", 7, True])
def test_what_is_no_printable_text_is_refused_and_not_shown(value: Any) -> None:
    holder = made(Name=value)
    assert holder.text("Name") is None
    assert refused(holder)[0].startswith("file: $.A.Name: must be a text, not ")
    assert repr(value) not in refused(holder)[0]


def test_an_unknown_word_is_refused_with_those_that_are_known() -> None:
    holder = made(IkePfs="group15")
    assert holder.word("IkePfs", {"group1": 1, "group2": 2}) is None
    assert refused(holder) == ["file: $.A.IkePfs: unknown value 'group15': documented are group1 and group2"]


def test_a_list_comes_wrapped_or_bare() -> None:
    items = [{"a": 1}, {"a": 2}]
    for value, path in ((items, "$.A.L[1]"), ({"Item": items}, "$.A.L.Item[1]")):
        found = made(L=value).objects("L", "Item")
        assert [item.members["a"] for item in found] == [1, 2]
        assert found[1].where.json_path == path


@pytest.mark.parametrize("value", ["hush", ["hush"], 7])
def test_what_should_be_an_object_is_told_by_kind_only(value: Any) -> None:
    holder = made(IkeConfig=value)
    assert not holder.object("IkeConfig")
    assert len(holder.problems) == 1
    assert "hush" not in refused(holder)[0]


def test_the_repr_shows_nothing_of_the_members() -> None:
    assert "hush" not in repr(made(Psk="hush"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"\xff{}", "is not UTF-8, from byte 0 on"),
        (b'{"Psk": "hush"', "is not JSON: Expecting ',' delimiter in line 1, column 15"),
        (
            "{\u201cPsk\u201d: 1}".encode(),
            "is not JSON: Expecting property name enclosed in double quotes in line 1, column 2, "
            "where there is a curly quotation mark (U+201C): write '\"'",
        ),
        (
            '{"Psk"\uff1a1}'.encode(),
            "is not JSON: Expecting ':' delimiter in line 1, column 7, "
            "where there is a full-width colon (U+FF1A): write ':'",
        ),
        (b'{"Psk": "hush", "Psk": "hush2"}', "has the key 'Psk' twice in one object"),
        (b"[" * 100_000, "is nested too deep"),
        (b"9" * 5000, "holds a number that is too long"),
        (b"NaN", "holds NaN, which is not JSON"),
        (b" " * ((1 << 24) + 1), "must not be larger than 16777216 bytes"),
    ],
)
def test_what_is_not_json_is_refused_without_showing_it(text: bytes, reason: str) -> None:
    with pytest.raises(JsonError) as refusal:
        parse(text)
    assert str(refusal.value) == reason


def test_a_byte_order_mark_is_allowed() -> None:
    assert parse(b"\xef\xbb\xbf" + json.dumps({"a": 1}).encode()) == {"a": 1}


def test_a_problem_names_the_document_and_the_json_path() -> None:
    where = Source("file.json", ("VpnConnections", "VpnConnection", 3, "odd key"))
    expected = "$.VpnConnections.VpnConnection[3]['odd key']"
    assert where.problem("is wrong") == Problem("file.json", 0, expected, "is wrong")
    assert Source("file.json", ()).json_path == "$"
    assert Source("file.json", (2, "A")).json_path == "$[2].A"
