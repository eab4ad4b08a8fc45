from hypothesis import given
from hypothesis import strategies as st

from vpnagent.diff import Difference, diff

tables = st.dictionaries(st.integers(0, 9), st.integers(0, 3))
Table = dict[int, int]


def applied(difference: Difference[int, int], table: Table) -> Table:
    changed = {key: value for key, (value, _) in difference.changed.items()}
    table = table | dict(difference.missing) | changed
    return {key: value for key, value in table.items() if key not in difference.surplus}


@given(tables, tables)
def test_applying_the_difference_leads_to_the_desired(desired: Table, actual: Table) -> None:
    assert applied(diff(desired, actual), actual) == desired


@given(tables)
def test_equal_tables_do_not_differ(table: Table) -> None:
    assert not diff(table, dict(table))
    assert not diff(table, table)


@given(tables, tables)
def test_tables_that_differ_are_told_apart(desired: Table, actual: Table) -> None:
    assert bool(diff(desired, actual)) is (desired != actual)


@given(tables, tables)
def test_a_key_is_in_one_of_the_three_at_most(desired: Table, actual: Table) -> None:
    difference = diff(desired, actual)
    keys = [*difference.missing, *difference.changed, *difference.surplus]
    assert len(keys) == len(set(keys))


@given(tables, tables)
def test_what_was_there_is_told_with_what_changes(desired: Table, actual: Table) -> None:
    for key, (value, was) in diff(desired, actual).changed.items():
        assert (value, was) == (desired[key], actual[key])
