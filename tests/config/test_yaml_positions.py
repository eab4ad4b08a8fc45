import math

import pytest

from vpnagent.config.yaml_positions import MAX_BYTES, Fault, read, scalar

BILLION_LAUGHS = b"""\
a: &a [x, x, x, x, x, x, x, x, x, x]
b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]
c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]
d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]
e: &e [*d, *d, *d, *d, *d, *d, *d, *d, *d, *d]
"""

UNUSABLE = [
    (b"", 0, "is empty"),
    (b"# nothing\n", 0, "is empty"),
    (b"\n- a\n", 2, "the top level must be a mapping (key: value), not a list"),
    (b"name\n", 1, "the top level must be a mapping (key: value), not a single value"),
    (b"a: 1\nb: \xff\n", 2, "must be UTF-8: byte 0xff is not"),
    ("a: ä\n".encode("latin-1"), 1, "must be UTF-8: byte 0xe4 is not"),
    ("a: 1\n".encode("utf-16"), 1, "must be UTF-8 without a byte order mark (BOM)"),
    (b"\xef\xbb\xbfa: 1\n", 1, "must be UTF-8 without a byte order mark (BOM)"),
    (b"a: 1\nb: \x00\n", 2, "must not contain the control character U+0000"),
    (b"a: 1\r\nb: \x1b[2J\n", 2, "must not contain the control character U+001B"),
    (
        b"a: 'x\n\n",
        3,
        "is not YAML: found unexpected end of stream while scanning a quoted scalar from line 1 on",
    ),
    (b"a: 1\n b: 2\n", 2, "is not YAML: mapping values are not allowed in this context"),
    (
        b"a: *b\n",
        1,
        "is not YAML: '*' (U+002A) at the beginning of a value names an anchor ('&'), and there is none of "
        "this name: put the value in quotes",
    ),
    (
        b"a: 1\n---\nb: 1\n",
        2,
        "is not YAML: expected a single document in the stream but found another document",
    ),
    (b"[" * 500_000, 1, "is nested deeper than 20 levels"),
    (b"{a: " * 100_000, 1, "is nested deeper than 20 levels"),
    (b"- " * 100_000, 1, "is nested deeper than 20 levels"),
    (b"a:\n- ']]]' # ]]\n- " + b"[" * 50_000, 3, "is nested deeper than 20 levels"),
    (b"a: [\n" + b"']]', [ # ]]\n" * 2_000, 19, "is nested deeper than 20 levels"),
    (b"a: &x [*x]\n", 1, "is nested deeper than 20 levels by its aliases"),
    (BILLION_LAUGHS, 1, "its aliases expand to more than 100000 values"),
    (b"#" * (MAX_BYTES + 1), 0, f"must not be larger than {MAX_BYTES} bytes"),
]


@pytest.mark.parametrize(("content", "line", "text"), UNUSABLE, ids=[text for _, _, text in UNUSABLE])
def test_what_is_no_mapping_in_yaml_gives_one_fault_and_nothing_else(
    content: bytes, line: int, text: str
) -> None:
    document = read(content)

    assert document.faults == [Fault(line, (), text)]
    # Aliases are counted while the document is walked, which may leave a part of it.
    assert document.data == {}


def test_unusable_parts_are_reported_together_and_the_rest_is_kept() -> None:
    document = read(b'a: 1\na: 2\nb: !x 3\nc: 012\n<<: {d: 4}\n? [e]\n: 5\nf: "\\e"\n!y g: 7\nh: 8\n')

    assert document.data == {"a": 1, "b": None, "c": None, "f": None, "h": 8}
    assert document.faults == [
        Fault(2, ("a",), "the key is already on line 1: a key must not be repeated"),
        Fault(3, ("b",), "a tag is not allowed"),
        Fault(
            4,
            ("c",),
            "has different values for different readers of YAML: write a plain decimal number, or quote it",
        ),
        Fault(5, (), "merge keys (<<) are not supported: alias the whole section instead"),
        Fault(6, (), "a key must be a text of one line"),
        Fault(8, ("f",), "must be one line without control characters"),
        Fault(9, (), "a tag is not allowed"),
    ]


@pytest.mark.parametrize(
    "tagged", [b"!!str 1", b"!!python/object:os.system x", b"!!binary aGk=", b"!x [1]", b"!x {}"]
)
def test_no_tag_is_allowed(tagged: bytes) -> None:
    document = read(b"a: " + tagged)

    assert document.data == {"a": None}
    [fault] = document.faults
    assert fault.text.endswith("is not allowed")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("off", "off"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("10.1.0.0/16", "10.1.0.0/16"),
        ("1.2.3.4", "1.2.3.4"),
        ("0.0", 0.0),
        ("0", 0),
        ("-7", -7),
        ("+7", 7),
        ("0x10", 16),
        ("0o17", 15),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("3.", 3.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("9" * 400, math.inf),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("text", "text"),
    ],
)
def test_plain_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = scalar(text, plain=True)

    assert found == value
    assert type(found) is type(value)


def test_not_a_number_is_a_float() -> None:
    assert math.isnan(float(str(scalar(".nan", plain=True))))


@pytest.mark.parametrize("text", ["012", "-012", "00", "1_000", "0b101"])
def test_numbers_that_depend_on_the_reader_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="different values for different readers"):
        scalar(text, plain=True)


@pytest.mark.parametrize("text", ["012", "no", "", "1", "true", "~"])
def test_what_is_quoted_is_a_text(text: str) -> None:
    assert scalar(text, plain=False) == text


def test_lines_are_those_of_keys_and_of_the_items_of_lists() -> None:
    document = read(b"a:\n  b:\n    - 1\n    - c:\n        2\n")

    assert [
        document.line(path) for path in [("a",), ("a", "b"), ("a", "b", 0), ("a", "b", 1), ("a", "b", 1, "c")]
    ] == [
        1,
        2,
        3,
        4,
        4,
    ]


def test_the_line_of_what_is_missing_is_that_of_what_it_is_missing_from() -> None:
    document = read(b"a: 1\nb:\n  c: 1\n")

    assert document.line(("b", "d", 0)) == 2
    assert document.line(("e",)) == 1


def test_an_alias_has_the_lines_of_its_anchor() -> None:
    document = read(b"a: &a\n  b: 1\nc: *a\n")

    assert document.data["c"] == {"b": 1}
    assert document.line(("c", "b")) == 2
