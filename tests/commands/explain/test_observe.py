"""What observing does when nobody answers: it ends."""

import asyncio
import socket
import time
from ipaddress import IPv4Address

import pytest

from vpnagent.commands.explain.observe import answer, resolve
from vpnagent.commands.explain.reasoning import Outcome

HERE = IPv4Address("127.0.0.1")


def test_an_address_is_its_own_name() -> None:
    assert resolve("127.0.0.1") == ((HERE,), "")


def test_a_name_that_is_none_has_a_reason() -> None:
    addresses, why_not = resolve("a" * 70 + ".invalid")
    assert addresses == ()
    assert why_not


def test_a_resolver_that_does_not_answer_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = socket.socketpair()
    with stuck[0], stuck[1]:
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: list(stuck[0].recv(1))[1:])
        started = time.monotonic()
        addresses, why_not = resolve("example.com", deadline=0.05)
        assert time.monotonic() - started < 2
        stuck[1].send(b".")
    assert (addresses, why_not) == ((), "no answer within 0.05 s")


def test_a_port_that_listens_answers_and_one_that_does_not_refuses() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert asyncio.run(answer(HERE, port)).outcome is Outcome.ANSWERED
    assert asyncio.run(answer(HERE, port)).outcome is Outcome.REFUSED


def test_a_port_that_is_silent_is_waited_for_no_longer_than_the_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):  # the backlog is full: a SYN is not answered
            assert asyncio.run(answer(HERE, port, deadline=0.2)).outcome is Outcome.SILENT
