"""What the unit's user can do, and what it cannot: SECURITY.md, tried."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.namespace import run
from tests.native.charon_pair import Host, charon_pair
from tests.native.prober_process import until
from tests.native.service_user import PSK, UID, ServiceUser, service_user
from tests.native.two_links import link_kind

if os.geteuid() != 0:
    pytest.skip("another user's daemon needs root: ./dev test runs this", allow_module_level=True)

MODULES = Path("/proc/modules").exists()  #: else the kernel has no such call


@pytest.fixture(scope="module")
def hosts() -> Iterator[tuple[Host, Host]]:
    """Two namespaces with a real charon each, whose sockets are root's."""
    with tempfile.TemporaryDirectory(prefix="vpna-") as directory:
        Path(directory).chmod(0o755)
        with charon_pair(Path(directory)) as pair:
            yield pair


@pytest.fixture(scope="module")
def host(hosts: tuple[Host, Host]) -> Host:
    return hosts[0]


@pytest.fixture
def user(host: Host) -> Iterator[ServiceUser]:
    with service_user(host) as made:
        yield made


def test_the_daemon_needs_no_root(host: Host, user: ServiceUser) -> None:
    for setting in ("ip_forward=0", "nexthop_compat_mode=1"):
        run(f"ip netns exec {host.namespace} sysctl -q net.ipv4.{setting}")
    with user.daemon() as daemon:
        until(lambda: "permission denied" in charon_warning(user), within=30, every=0.2)

        user.open_vici()
        until(lambda: user.status()["charon"]["connected"], within=30, every=0.2)
        listed = f"swanctl --list-conns --uri unix://{host.vici}"
        until(lambda: "vpnagent.hangzhou.primary:" in run(listed), within=10, every=0.1)

        guards = run(f"ip -n {host.namespace} route show proto 86")
        assert "unreachable 100.64.0.0/10 metric 4278198272" in guards
        read = f"ip netns exec {host.namespace} sysctl -n net.ipv4.ip_forward net.ipv4.nexthop_compat_mode"
        assert run(read).split() == ["1", "0"]
        assert "table inet vpnagent" in run(f"ip netns exec {host.namespace} nft list tables")
        if link_kind() == "xfrm":
            assert "if_id 0x7" in run(f"ip -n {host.namespace} -d link show type xfrm")

        assert owners(daemon.pid) == {UID}
        assert owners(int(until(lambda: prober_pid(user.log()), within=30))) == {UID}
        assert (user.directory / "run/control.sock").stat().st_mode & 0o777 == 0o660
        assert PSK not in user.log()
    assert run(f"ip -n {host.namespace} route show proto 86") == ""
    assert "vpnagent" not in run(listed)


def test_nobody_of_the_same_user_reads_the_memory_of_daemon_and_prober(user: ServiceUser) -> None:
    with user.daemon() as daemon:
        prober = until(lambda: prober_pid(user.log()), within=30)
        for pid in (daemon.pid, prober):
            assert user.python(f"open('/proc/{pid}/mem', 'rb')").startswith("PermissionError")


def test_what_an_operators_load_all_unloads_is_loaded_again(host: Host, user: ServiceUser) -> None:
    """swanctl(8) unloads whatever is in no file of its own."""
    user.open_vici()
    listed = f"swanctl --list-conns --uri unix://{host.vici}"
    with user.daemon():
        until(lambda: "vpnagent.hangzhou.primary:" in run(listed), within=30, every=0.1)
        assert ", 1 unloaded\n" in run(f"swanctl --load-all --noprompt --uri unix://{host.vici}")
        until(lambda: "vpnagent.hangzhou.primary:" in run(listed), within=10, every=0.1)


def test_a_key_that_the_user_may_not_read_is_one_line(user: ServiceUser) -> None:
    user.config.write_text(user.config.read_text().replace("psk/primary", "psk/roots"))
    said = user.vpnagent("run")
    assert said.returncode == 2
    assert said.stderr == (
        f"{user.config}:18: connections[0].tunnels[0].psk_file: cannot be opened: Permission denied"
        f" (names are relative to {user.directory})\n"
    )


def test_a_key_that_the_next_start_could_not_read_is_told_ahead(user: ServiceUser) -> None:
    def told() -> str:
        return "".join(w["text"] for w in user.status()["warnings"] if w["code"] == "StartRefused")

    with user.daemon():
        (user.directory / "psk/primary").chmod(0o600)  # root's
        until(told, within=120, every=1)
        assert "psk_file: cannot be opened: Permission denied" in told()


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        ("open('{keys}/primary').read()", ""),
        ("open('/proc/sys/net/ipv4/ip_forward', 'w').write('1')", ""),
        ("open('{keys}/roots')", "PermissionError: [Errno 13]"),
        ("open('{keys}/mine', 'w')", "PermissionError: [Errno 13]"),
        ("open('{config}', 'w')", "PermissionError: [Errno 13]"),
        ("open('/etc/shadow')", "PermissionError: [Errno 13]"),
        ("open('/proc/sys/kernel/core_pattern', 'w')", "PermissionError: [Errno 13]"),
        ("open('/proc/1/mem')", "PermissionError: [Errno 13]"),
        ("os.kill(1, 15)", "PermissionError: [Errno 1]"),
        ("os.setuid(0)", "PermissionError: [Errno 1]"),
        ("os.chroot('/')", "PermissionError: [Errno 1]"),
        ("init_module()", "PermissionError: [Errno 1]" if MODULES else "OSError: [Errno 38]"),
        ("socket.socket(socket.AF_UNIX).connect('{vici}')", "PermissionError: [Errno 13]"),
    ],
)
def test_what_the_user_can_and_cannot_do(host: Host, user: ServiceUser, attempt: str, outcome: str) -> None:
    os.chown(host.vici, -1, 0)
    program = (
        "import ctypes, os, socket\n"
        "def init_module():\n"
        "    libc = ctypes.CDLL(None, use_errno=True)\n"
        "    if libc.init_module(b'', 0, b''):\n"
        "        error = ctypes.get_errno()\n"
        "        raise OSError(error, os.strerror(error))\n"
    )
    filled = attempt.format(keys=user.directory / "psk", config=user.config, vici=host.vici)
    said = user.python(program + filled)
    assert said.startswith(outcome) if outcome else said == ""


def test_whoever_may_open_the_vici_socket_has_root_run_what_he_names(
    hosts: tuple[Host, Host], user: ServiceUser
) -> None:
    here, there = hosts
    script, ran = user.directory / "state/updown", user.directory / "state/ran"
    assert user.python(f"open('{script}', 'w').write('#!/bin/sh\\nid -u >{ran}\\n')") == ""
    assert user.python(f"import os; os.chmod('{script}', 0o755)") == ""
    user.open_vici()
    subprocess.run([sys.executable, "-c", connection_by_vici(there, here)], check=True)
    assert user.python(connection_by_vici(here, there, updown=str(script))) == ""
    assert until(lambda: ran.exists() and ran.read_text(), within=20, every=0.1) == "0\n"


def connection_by_vici(here: Host, there: Host, *, updown: str = "") -> str:
    """Return a program that loads a connection as any client may, and with ``updown`` initiates it."""
    ends = [{"auth": "psk", "id": host.address} for host in (here, there)]
    child: dict[str, object] = {"local_ts": [here.network], "remote_ts": [there.network]}
    more = ""
    if updown:
        child["updown"] = updown
        more = "list(charon.initiate({'child': 'tried', 'timeout': '10000'}))\n"
    connection = {
        **{"version": "2", "local_addrs": [here.address], "remote_addrs": [there.address]},
        **{"local": ends[0], "remote": ends[1], "children": {"tried": child}},
    }
    secret = {"id": "tried", "type": "ike", "data": PSK, "owners": [here.address, there.address]}
    return (
        "import socket, vici\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        f"sock.connect('{here.vici}')\n"
        "charon = vici.Session(sock)\n"
        f"charon.load_shared({secret})\n"
        f"charon.load_conn({{'tried': {connection}}})\n"
        f"{more}"
    )


def charon_warning(user: ServiceUser) -> str:
    """Return what status says of a charon that cannot be reached."""
    warnings = user.status()["warnings"]
    return next((str(warning["text"]) for warning in warnings if warning["code"] == "CharonUnreachable"), "")


def owners(pid: int) -> set[int]:
    """Return the user ids of a process: real, effective, saved, of the file system."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {int(uid) for line in lines if line.startswith("Uid:") for uid in line.split()[1:]}


def prober_pid(log: str) -> str | None:
    """Return the prober's process id as the daemon's log has it."""
    _, found, rest = log.partition("prober-connected pid=")
    return rest.split()[0] if found else None
