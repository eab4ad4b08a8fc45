"""The pictures of docs/screens are those that ./dev screens draws."""

import pytest
from tools.screens import PICTURES, pictures


@pytest.mark.parametrize("name", sorted(path.name for path in pictures()))
def test_a_picture_is_the_one_that_is_drawn(name: str) -> None:
    assert pictures()[PICTURES / name] == (PICTURES / name).read_text(), "./dev screens draws it anew"


def test_no_picture_is_left_over() -> None:
    assert {path.name for path in PICTURES.iterdir()} == {path.name for path in pictures()}


@pytest.mark.parametrize("name", sorted(path.name for path in pictures()))
def test_a_picture_fetches_nothing(name: str) -> None:
    text = (PICTURES / name).read_text()
    assert "url(http" not in text
    assert "@import" not in text
