"""The screens of ``vpnagent status``: what is expected, as ./dev screens draws it, and laws."""

from typing import Any

import pytest
from tests.config_examples import make_config
from tools.screens import NOW, TEXTS, document, screen, texts

from vpnagent.commands.status.canvas import Canvas, plain
from vpnagent.commands.status.overview import overview
from vpnagent.knowledge.knowledge import Failover, Knowledge
from vpnagent.status.document import status


@pytest.mark.parametrize("name", sorted(path.name for path in texts()))
def test_the_screens_are_the_expected_ones(name: str) -> None:
    assert texts()[TEXTS / name] == (TEXTS / name).read_text(), "./dev screens draws them anew"


@pytest.mark.parametrize("name", sorted(NOW))
@pytest.mark.parametrize("width", range(60, 201, 5))
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    assert max(len(plain(told)) for told in screen(name, Canvas(width=width))) <= width


@pytest.mark.parametrize("name", sorted(NOW))
def test_without_unicode_a_screen_is_ascii(name: str) -> None:
    assert all(plain(told).isascii() for told in screen(name, Canvas(width=80, encoding="ascii")))


@pytest.mark.parametrize("name", sorted(NOW))
def test_the_documents_have_the_shape_that_the_daemon_tells(name: str) -> None:
    known = Knowledge(config=make_config(), loaded_at=0.0)
    known.kernel.failovers["hangzhou"] = Failover(
        at=0.0, old=("a",), new=(), reason="link", detection_seconds=0.0, switch_seconds=0.0
    )
    recorded, told = document(name), status(known)
    assert recorded.keys() == told.keys()
    mine, daemons = recorded["connections"][0], told["connections"][0]
    assert mine.keys() == daemons.keys()
    assert all(tunnel.keys() == daemons["tunnels"][0].keys() for tunnel in mine["tunnels"])
    if mine["last_failover"]:
        assert mine["last_failover"].keys() == daemons["last_failover"].keys()


def test_every_tunnel_and_every_route_has_a_line_before_anything_is_known() -> None:
    known = Knowledge(config=make_config(), loaded_at=NOW["healthy"].timestamp())
    text = "\n".join(plain(told) for told in overview(status(known), NOW["healthy"], Canvas()))
    for word in ("hangzhou/primary", "hangzhou/backup", "vpn-hz-1", "100.64.0.0/10", "172.16.0.0/16"):
        assert word in text


def test_what_is_not_used_says_so_and_who_carries_instead() -> None:
    status: dict[str, Any] = document("healthy")
    status["routes"][0] |= {"state": "unused", "by": "eth3"}
    status["connections"][0] |= {"active": [], "carried_by": ["beijing"]}
    text = "\n".join(plain(told) for told in overview(status, NOW["healthy"], Canvas(width=120)))
    assert "not used: a route by eth3" in text
    assert "by beijing" in text


def test_what_a_peer_said_moves_no_cursor() -> None:
    evil: dict[str, Any] = document("outage")
    evil["warnings"][0]["text"] = evil["connections"][0]["tunnels"][0]["reason"] = "id \x1b]0;pwned\x07\x9b2J"
    for told in overview(evil, NOW["outage"], Canvas(width=80)):
        assert plain(told).isprintable()
