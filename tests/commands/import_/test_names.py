"""Names are the cloud's own, in our characters, and no two are the same."""

from typing import Any

import pytest
from tests.commands.import_.importing import assembled, document, to_another_end

DESCRIBE = document("describe-single.json")


def names(*changes: dict[str, Any], file: str = "file.json") -> list[Any]:
    answer = {"VpnConnections": {"VpnConnection": [DESCRIBE | change for change in changes]}}
    return [connection.name.value for connection in assembled({file: answer}).connections]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("hangzhou-1", "hangzhou-1"),
        (" hang zhou (prod) ", "hang-zhou-prod"),
        ("杭州", "vco-single"),
        ("x" * 40, "x" * 32),
        ("", "vco-single"),
    ],
)
def test_a_connection_has_its_name_or_its_id(name: str, expected: str) -> None:
    assert names({"Name": name}) == [expected]


def test_connections_of_one_name_have_their_ids() -> None:
    both = [{"Name": "same", "VpnConnectionId": identity} for identity in ("vco-1", "vco-2")]
    assert names(*both) == ["vco-1", "vco-2"]


def test_a_connection_without_either_has_the_documents_name() -> None:
    download = document("download-single.json")
    for file, expected in (("site 7.json", "site-7"), ("-", "connection")):
        assert assembled({file: download}).connections[0].name.value == expected


def test_documents_of_one_name_make_two_names() -> None:
    dual = document("download-dual-bgp.json")
    documents = {"a/x.json": to_another_end("download-single.json"), "b/x.json": dual}
    assert [connection.name.value for connection in assembled(documents).connections] == ["x", "x-2"]
