"""Probes of TCP ports and name servers: heard through the tunnels, and leaving nothing behind."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

import pytest
from lab.deadline import PATIENCE, eventually
from lab.gateway import LabGateway, failover_from, on_backup, paths_are_up, tunnel
from lab.observer import PROC
from lab.topology import BACKUP, ECS_HOST, PRIMARY
from lab.world import Lab

PORT = 5353
ANSWERS = b"\x81\x80"  # a response, recursion desired and available, no error (RFC 1035 §4.1.1)
ESTABLISHED = "01"
COUNTED = f"""table ip counted {{
    counter probes {{ }}
    chain input {{
        type filter hook input priority 0;
        meta l4proto {{ tcp, udp }} th dport {PORT} counter name probes
    }}
}}"""


def probes_seen(lab: Lab) -> int:
    """How many packets came to the port."""
    words = lab.topology["ecs"].run("nft", "list", "counter", "ip", "counted", "probes").split()
    return int(words[words.index("packets") + 1])


def accept(pipe: Connection) -> None:
    """A service that counts whom it serves, until the pipe is closed."""
    served = 0
    with socket.create_server((ECS_HOST, PORT)) as listener, contextlib.suppress(EOFError):
        listener.settimeout(0.1)
        pipe.send("ready")
        while not pipe.poll():
            with contextlib.suppress(TimeoutError):
                listener.accept()[0].close()
                served += 1
        pipe.recv()
        lines = (PROC / "tcp").read_text().splitlines()[1:]
        pipe.send((served, sum(line.split()[3] == ESTABLISHED for line in lines)))


def resolve(pipe: Connection) -> None:
    """A name server that answers every query without records, until the pipe is closed."""
    answered = 0
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        contextlib.suppress(EOFError),
    ):
        server.bind((ECS_HOST, PORT))
        server.settimeout(0.1)
        pipe.send("ready")
        while not pipe.poll():
            with contextlib.suppress(TimeoutError):
                query, peer = server.recvfrom(512)
                server.sendto(query[:2] + ANSWERS + query[4:], peer)
                answered += 1
        pipe.recv()
        pipe.send((0, 0) if answered else (1, 0))


@contextlib.contextmanager
def serving(lab: Lab, main: Callable[[Connection], None]) -> Iterator[Connection]:
    """The service in the VPC while the body runs."""
    process, pipe = lab.topology["ecs"].fork(main)
    try:
        assert pipe.poll(10 * PATIENCE)
        pipe.recv()
        yield pipe
    finally:
        process.kill()
        process.join(5 * PATIENCE)
        pipe.close()


@pytest.mark.parametrize(("method", "main"), [("tcp", accept), ("dns", resolve)])
def test_a_dead_path_is_left_by_probes_of(
    lab: Lab, gateway: LabGateway, method: str, main: Callable[[Connection], None]
) -> None:
    document = gateway.document()
    [connection] = document["connections"]
    connection["probe"] |= {"method": method, "port": PORT, "hold_down": "2s"}
    for each in connection["tunnels"]:
        del each["inside_address"]
    gateway.write(document)
    with serving(lab, main) as service:
        gateway.start()
        gateway.wait_up()
        lab.topology["ecs"].nft(COUNTED)
        try:
            eventually(lambda: probes_seen(lab) > 20, f"probes by {method} come", within=20 * PATIENCE)
            gateway.wait(paths_are_up, "both paths answer", within=10 * PATIENCE)
            lab.faults.drop(PRIMARY, "esp")
            gateway.wait(on_backup, "traffic is on the backup", within=10 * PATIENCE)
            gateway.wait(lambda s: tunnel(s, BACKUP)["path"]["state"] == "up", "heard", within=10 * PATIENCE)
        finally:
            lab.topology["ecs"].nft("delete table ip counted")
        failover_from(gateway, PRIMARY)
        service.send("report")
        assert service.poll(5 * PATIENCE)
        served, established = service.recv()
    assert (served, established) == (0, 0), "a probe left a connection behind, or none was answered"
