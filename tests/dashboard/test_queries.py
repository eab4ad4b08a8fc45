import pytest
from hypothesis import given
from hypothesis import strategies as st
from tools.dashboard.board import board, queries, substituted

NAMES = ("job", "instance", "connection", "tunnel")


@pytest.mark.parametrize("reference", ["$tunnel", "${tunnel}", "${tunnel:regex}"])
def test_a_variable_may_be_spelled_in_three_ways(reference: str) -> None:
    assert substituted(f'{{tunnel=~"{reference}"}}', {"tunnel": "a|b"}) == '{tunnel=~"a|b"}'


def test_the_longest_name_counts() -> None:
    assert substituted("$a_b $a", {"a": "1", "a_b": "2"}) == "2 1"


@given(st.dictionaries(st.from_regex(r"[a-z]\w{0,8}", fullmatch=True), st.text(max_size=9)))
def test_every_variable_gets_its_own_value_once(values: dict[str, str]) -> None:
    expression = " ".join(f"${name} ${{{name}}}" for name in values)
    assert substituted(expression, values) == " ".join(f"{value} {value}" for value in values.values())


def test_a_variable_without_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="tunnel"):
        list(queries(board(), dict.fromkeys(NAMES[:-1], ".*")))


def test_panels_marks_and_variables_are_all_told() -> None:
    made = board()
    found = [query.where for query in queries(made, dict.fromkeys(NAMES, ".*"))]
    asked = [target for panel in made["panels"] for target in panel.get("targets", [])]
    assert len(found) == len(set(found)) == len(asked) + len(made["annotations"]["list"]) + len(NAMES)
    assert {"Paths / Loss / A", "mark Failovers", "variable tunnel"} <= set(found)


def test_nothing_of_grafanas_is_left_in_a_query() -> None:
    assert not [query for query in queries(board(), dict.fromkeys(NAMES, "x")) if "$" in query.expr]
