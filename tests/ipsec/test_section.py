import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpnagent.ipsec.messages import ViciSection, flag, hexadecimal, number, sections, subsection, text, texts

SECTION: ViciSection = {
    "name": b"t",
    "bytes": b"12",
    "if-id": b"0000002a",
    "encap": b"yes",
    "ts": [b"a", b"b"],
    "in": {},
}


def test_values_are_read_as_what_they_are() -> None:
    assert text(SECTION, "name") == "t"
    assert number(SECTION, "bytes") == 12
    assert hexadecimal(SECTION, "if-id") == 42
    assert flag(SECTION, "encap")
    assert texts(SECTION, "ts") == ("a", "b")
    assert dict(sections(SECTION)) == {"in": {}}
    assert subsection(SECTION, "in") == {}


def test_what_charon_leaves_out_has_a_default() -> None:
    assert (text({}, "x", "-"), number({}, "x", 7), hexadecimal({}, "x"), flag({}, "x")) == ("-", 7, 0, False)
    assert (texts({}, "x"), subsection({}, "x")) == ((), {})


@pytest.mark.parametrize("read", [text, number])
@given(value=st.one_of(st.none(), st.just([b"1"]), st.just({"a": b"1"})))
def test_what_must_be_told_and_is_not_a_value_is_an_error(read: object, value: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="missing or not a value"):
        read({"x": value}, "x")


@pytest.mark.parametrize("read", [texts, subsection])
def test_a_value_in_place_of_a_list_or_a_section_is_an_error(read: object) -> None:
    assert callable(read)
    with pytest.raises(ValueError, match="is not a"):
        read({"x": b"1"}, "x")
