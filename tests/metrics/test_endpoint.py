"""Scrapes over real sockets: who is let in, who is in nobody's way, and what a new file changes."""

import asyncio
import contextlib
import http.client
import shutil
import socket
import ssl
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.certificates import Certified, authority, issued
from tests.config_examples import make_config

from vpnagent.config.values import MetricsAuth, MetricsTls
from vpnagent.errors import AgentError
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.metrics import declared as metrics_text
from vpnagent.metrics import endpoint as metrics_endpoint
from vpnagent.metrics.endpoint import CONNECTIONS, FRESH_BURST, Endpoint

DEADLINE = 20.0  #: seconds
PASSWORD = "Hush-7f3a"


@pytest.fixture(autouse=True)
def _short_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "PERIOD", 0.05)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certified]:
    folder = tmp_path_factory.mktemp("certificates")
    ca, other = authority(folder, "ca"), authority(folder, "other")
    return {
        "ca": ca,
        "server": issued(ca, folder, "localhost"),
        "renewed": issued(ca, folder, "localhost.localdomain"),
        "client": issued(ca, folder, "prometheus"),
        "stranger": issued(other, folder, "stranger"),
    }


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def knowledge(tls: MetricsTls | None = None, auth: MetricsAuth | None = None) -> Knowledge:
    listen = f"127.0.0.1:{free_port()}"
    agent = {"metrics_listen": listen, "metrics_tls": tls, "metrics_auth": auth}
    return Knowledge(config=make_config(agent=agent), loaded_at=0.0)


def port_of(known: Knowledge) -> int:
    return int(known.config.agent.metrics_listen.rpartition(":")[2])


@contextlib.asynccontextmanager
async def serving(known: Knowledge, endpoint: Endpoint | None = None) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as group:
        task = group.create_task((endpoint or Endpoint(known)).serve())
        await until(lambda: task.done() or accepts(port_of(known)))
        yield
        task.cancel()


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


async def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE
    while not await asyncio.to_thread(holds):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


def client(ca: Certified, shown: Certified | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca.certificate)
    context.check_hostname = False  # which certificate it is, is asserted
    if shown:
        context.load_cert_chain(shown.certificate, shown.key)
    return context


def scrape(known: Knowledge, tls: ssl.SSLContext | None = None, credentials: str = "") -> tuple[int, str]:
    """Return the status and the name in the server's certificate. Raises OSError when it is refused."""
    sock = socket.create_connection(("127.0.0.1", port_of(known)), timeout=DEADLINE)
    name = ""
    with contextlib.ExitStack() as stack:
        stack.enter_context(sock)
        if tls:
            wrapped = stack.enter_context(tls.wrap_socket(sock))
            certificate = wrapped.getpeercert() or {}
            name = str(certificate["subject"])
            sock = wrapped
        header = f"Authorization: Basic {b64encode(credentials.encode()).decode()}\r\n" if credentials else ""
        sock.sendall(f"GET /metrics HTTP/1.1\r\n{header}\r\n".encode())
        response = http.client.HTTPResponse(sock)
        response.begin()
        if response.status == http.HTTPStatus.OK:
            assert b"vpnagent_build_info{" in response.read()
        return response.status, name


def tls_of(server: Certified, ca: Certified | None = None) -> MetricsTls:
    return MetricsTls(
        certificate=str(server.certificate),
        private_key=str(server.key),
        client_ca=str(ca.certificate) if ca else None,
    )


def test_a_scrape_is_answered() -> None:
    async def run() -> None:
        known = knowledge()
        async with serving(known):
            assert (await asyncio.to_thread(scrape, known))[0] == 200

    asyncio.run(run())


@pytest.mark.parametrize("with_tls", [False, True])
def test_idle_clients_are_in_nobodys_way(made: dict[str, Certified], with_tls: bool) -> None:
    async def run() -> None:
        known = knowledge(tls_of(made["server"]) if with_tls else None)
        async with serving(known):
            with contextlib.ExitStack() as stack:
                idle = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", port_of(known))))
                    for _ in range(2 * CONNECTIONS)
                ]
                context = client(made["ca"]) if with_tls else None
                assert (await asyncio.to_thread(scrape, known, context))[0] == 200
                idle[0].settimeout(DEADLINE)
                assert await asyncio.to_thread(idle[0].recv, 1) == b""  # the oldest made room

    asyncio.run(run())


def test_a_client_that_says_nothing_is_dropped_at_its_deadline(
    made: dict[str, Certified], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics_endpoint, "DEADLINE", 0.1)

    async def run() -> None:
        known = knowledge(tls_of(made["server"]))
        async with serving(known):
            with socket.create_connection(("127.0.0.1", port_of(known)), timeout=DEADLINE) as idle:
                assert await asyncio.to_thread(idle.recv, 1) == b""

    asyncio.run(run())


def test_a_client_shows_a_certificate_of_the_right_ca_or_is_refused(made: dict[str, Certified]) -> None:
    async def run() -> None:
        known = knowledge(tls_of(made["server"], made["ca"]))
        async with serving(known):
            right = client(made["ca"], made["client"])
            assert (await asyncio.to_thread(scrape, known, right))[0] == 200
            for wrong in (client(made["ca"]), client(made["ca"], made["stranger"])):
                with pytest.raises((OSError, http.client.BadStatusLine)):
                    await asyncio.to_thread(scrape, known, wrong)

    asyncio.run(run())


def test_a_client_without_tls_gets_nothing_where_there_is_tls(made: dict[str, Certified]) -> None:
    async def run() -> None:
        known = knowledge(tls_of(made["server"]))
        async with serving(known):
            with pytest.raises((OSError, http.client.BadStatusLine)):
                await asyncio.to_thread(scrape, known)

    asyncio.run(run())


def test_the_password_is_asked_for_and_may_change(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(mode=0o600)
    file.write_text(f"{PASSWORD}\n")

    async def run() -> None:
        known = knowledge(auth=MetricsAuth(username="prometheus", password_file=str(file)))
        async with serving(known):
            assert (await asyncio.to_thread(scrape, known))[0] == 401
            assert (await asyncio.to_thread(scrape, known, None, f"prometheus:{PASSWORD}"))[0] == 200
            file.write_text("another")
            await until(lambda: scrape(known, None, "prometheus:another")[0] == 200)
            assert (await asyncio.to_thread(scrape, known, None, f"prometheus:{PASSWORD}"))[0] == 401

    asyncio.run(run())


def test_a_new_certificate_is_shown_a_bad_one_changes_nothing_and_is_told(
    made: dict[str, Certified], tmp_path: Path
) -> None:
    used = Certified(tmp_path / "cert.pem", tmp_path / "key.pem")

    def put(certified: Certified) -> None:
        shutil.copy(certified.certificate, used.certificate)
        shutil.copy(certified.key, used.key)

    async def run() -> None:
        put(made["server"])
        known = knowledge(tls_of(used))
        context = client(made["ca"])
        async with serving(known):
            assert "'localhost'" in (await asyncio.to_thread(scrape, known, context))[1]

            used.certificate.write_text("nonsense")
            await until(lambda: bool(known.metrics_findings))
            [finding] = known.metrics_findings
            assert finding.code == "MetricsFileRefused"
            assert f"{used.certificate}: must be a certificate as PEM: what it was before" in finding.text
            assert "'localhost'" in (await asyncio.to_thread(scrape, known, context))[1]

            put(made["renewed"])
            await until(lambda: "'localhost.localdomain'" in scrape(known, context)[1])
            assert known.metrics_findings == ()

    asyncio.run(run())


def test_a_listener_whose_address_is_taken_says_so_until_it_is_free() -> None:
    async def run() -> None:
        known = knowledge()
        taken = socket.create_server(("127.0.0.1", port_of(known)))
        endpoint = Endpoint(known)
        with taken, pytest.raises(AgentError, match="Address already in use"):
            await endpoint.serve()
        assert [finding.code for finding in known.metrics_findings] == ["MetricsNotListening"]

        async with serving(known, endpoint):
            assert (await asyncio.to_thread(scrape, known))[0] == 200
            assert known.metrics_findings == ()

    asyncio.run(run())


def test_a_listener_without_its_files_says_so(tmp_path: Path) -> None:
    async def run() -> None:
        known = knowledge(auth=MetricsAuth(username="p", password_file=str(tmp_path / "absent")))
        with pytest.raises(AgentError, match=r"absent: cannot be opened: .*: nobody can scrape"):
            await Endpoint(known).serve()

    asyncio.run(run())


def test_who_scrapes_now_and_then_gets_what_is_so_now_and_many_share_an_exposition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = []
    text = metrics_text.text

    def counted(*arguments: Any, **options: Any) -> bytes:
        made.append(arguments)
        return text(*arguments, **options)

    monkeypatch.setattr(metrics_endpoint, "text", counted)
    monkeypatch.setattr(metrics_endpoint, "FRESH", 0.0)

    async def run() -> None:
        known = knowledge()
        async with serving(known):
            for _ in range(20):
                assert (await asyncio.to_thread(scrape, known))[0] == 200
            assert len(made) == FRESH_BURST

    asyncio.run(run())


def test_silent_clients_go_before_one_that_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_endpoint, "text", lambda *_, **__: b"x" * (32 << 20))

    async def run() -> None:
        known = knowledge()
        async with serving(known):
            with contextlib.ExitStack() as stack:
                asked = stack.enter_context(socket.create_connection(("127.0.0.1", port_of(known))))
                asked.settimeout(DEADLINE)
                asked.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
                assert await asyncio.to_thread(asked.recv, 12) == b"HTTP/1.1 200"
                silent = [
                    stack.enter_context(socket.create_connection(("127.0.0.1", port_of(known))))
                    for _ in range(3 * CONNECTIONS)
                ]
                silent[CONNECTIONS].settimeout(DEADLINE)
                assert await asyncio.to_thread(silent[CONNECTIONS].recv, 1) == b""  # it made room
                assert await asyncio.to_thread(length_of, asked) > 32 << 20

    asyncio.run(run())


def length_of(sock: socket.socket) -> int:
    length = 0
    while part := sock.recv(1 << 20):
        length += len(part)
    return length


FLOOD = """
import socket, sys, threading
def ask():
    while True:
        try:
            with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 2) as made:
                made.sendall(b"GET /metrics HTTP/1.1\\r\\n\\r\\n")
                while made.recv(65536): pass
        except OSError: pass
for _ in range(64): threading.Thread(target=ask, daemon=True).start()
print("up", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def flooded(port: int) -> Iterator[None]:
    """Have a process ask in 64 threads for the body."""
    command = [sys.executable, "-c", FLOOD, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == b"up\n"
            yield
        finally:
            flood.kill()


def test_sixty_four_clients_that_ask_without_end_keep_nobody_out() -> None:
    async def run() -> None:
        known = knowledge()
        async with serving(known), contextlib.AsyncExitStack() as stack:
            flood = flooded(port_of(known))
            await asyncio.to_thread(stack.enter_context, flood)
            for _ in range(25):
                assert (await asyncio.to_thread(scrape, known))[0] == 200

    asyncio.run(run())
