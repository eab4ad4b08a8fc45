"""Documents are told apart by their keys, and what is none says what it is."""

from typing import Any

import pytest
from tests.cloud_document.importing import document, problems


def test_both_views_in_one_list_are_read_each_from_its_own_side() -> None:
    together = [document("download-single.json"), document("describe-single.json")]
    assert problems({"both": together}) == []


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (7, "$: must be an object, not a number"),
        ([[], "x"], "$[1]: must be an object, not a text"),
        ([], "$: holds no connection"),
        ({"VpnConnections": {"VpnConnection": []}, "TotalCount": 0}, "$: holds no connection"),
        ({"VpnConnections": 3}, "$.VpnConnections: must be a list, not a number"),
        ({"VpnConnections": [3]}, "$.VpnConnections[0]: must be an object, not a number"),
        ({"Code": "Forbidden.RAM", "Message": "no"}, "$: is an error of the API: 'Forbidden.RAM'"),
        ({"Local": "a", "VpnConnectionId": "b"}, "$: is neither the answer of "),
        ({}, "$: is neither the answer of "),
    ],
)
def test_what_is_no_document_of_a_connection_is_refused(value: Any, reason: str) -> None:
    found = problems({"file": value})
    assert found
    assert found[0].startswith(f"file: {reason}")


def test_a_tunnel_without_an_id_is_refused() -> None:
    tree = document("download-dual-bgp.json")
    del tree["VpnConnectionConfig"]["TunnelsConfig"]["TunnelConfig"][1]["TunnelId"]
    path = "$.VpnConnectionConfig.TunnelsConfig.TunnelConfig[1].TunnelId"
    assert problems({"file": tree}) == [f"file: {path}: is missing"]
