"""Only the modules named here may perform I/O; the prober's process imports nothing of third parties."""

import ast
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "agent" / "vpnagent"
SHELL = {
    "__main__.py",
    "knowledge/knowledge.py",
    "daemon/look.py",
    "checks/observe.py",
    "checks/large_packets.py",
    "daemon/patrol.py",
    "checks/readings.py",
    "cli.py",
    "commands/check.py",
    "commands/daemon.py",
    "commands/events.py",
    "commands/explain/__init__.py",
    "commands/hooks.py",
    "commands/plan.py",
    "commands/support_bundle/__init__.py",
    "config/load.py",
    "config/files.py",
    "control/client.py",
    "control/server.py",
    "daemon/daemon.py",
    "daemon/memory.py",
    "daemon/pair.py",
    "events/hooks.py",
    "events/post.py",
    "events/recorder.py",
    "events/store.py",
    "commands/explain/observe.py",
    "commands/drill/capture.py",
    "commands/drill/rehearsal.py",
    "ipsec/charon.py",
    "ipsec/vici.py",
    # asyncio.Event only: the bells between the tasks
    "log.py",
    "metrics/declared.py",
    "metrics/http.py",
    "metrics/endpoint.py",
    "probe/namespace_lock.py",
    "daemon/planning.py",
    "daemon/charon.py",
    "daemon/kernel.py",
    "daemon/prober.py",
    "program.py",
    "probe/__main__.py",
    "probe/client.py",
    "probe/slots.py",  # an address from text, and the one that the kernel would send from
    "probe/sockets.py",
    "probe/ike_daemons.py",
    "probe/server.py",
    "probe/kernel.py",
    "probe/inbox.py",
    "probe/prober.py",
    "probe/shell.py",
    "routing/kernel.py",
    "netlink/socket.py",
    "routing/observe.py",
    "daemon/reloading.py",
    "commands/status/viewer.py",
    "commands/support_bundle/collect.py",
    "commands/support_bundle/known_secrets.py",
    "own_files.py",
    "daemon/supervisor.py",
    "witness/look.py",
    "daemon/witness.py",
}
ENCODERS = {
    "routing/requests.py",
}  # pyroute2's message classes: bytes in, bytes out
IMPURE = {"asyncio", "socket", "subprocess", "threading", "time", "pyroute2", "prometheus_client", "select"}
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]
PURE = [name for name in NAMES if name not in SHELL | ENCODERS]


def imports(name: str) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
    return imported


@pytest.mark.parametrize("name", PURE)
def test_a_pure_module_imports_nothing_that_does_io(name: str) -> None:
    assert not {module.split(".")[0] for module in imports(name)} & IMPURE


@pytest.mark.parametrize("name", sorted(SHELL))
def test_a_named_shell_module_exists(name: str) -> None:
    assert name in NAMES


@pytest.mark.parametrize("subject", ["config", "ipsec", "probe", "routing"])
def test_subjects_know_of_others_only_values(subject: str) -> None:
    others = {"ipsec", "probe", "routing"} - {subject}
    allowed = {"vpnagent.routing.objects", "vpnagent.ipsec.sa", "vpnagent.ipsec.actions"}
    for name in NAMES:
        if name.startswith(f"{subject}/"):
            foreign = {m for m in imports(name) if m.startswith(tuple(f"vpnagent.{o}." for o in others))}
            assert foreign <= allowed, name


def loaded_by(statement: str) -> set[str]:
    program = f"import sys\n{statement}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", program], check=True, capture_output=True, text=True
        ).stdout.split()
    )


def test_status_loads_nothing_heavy() -> None:
    loaded = loaded_by("import vpnagent.commands.status.overview, vpnagent.commands.status.terminal")
    assert not loaded & {
        "asyncio",
        "pydantic",
        "pyroute2",
        "scapy",
        "prometheus_client",
        "rich",
        "vici",
        "yaml",
    }


def test_the_daemon_never_loads_scapy_nor_what_draws() -> None:
    assert not loaded_by("import vpnagent.daemon.daemon") & {"rich", "scapy"}


def test_the_daemon_loads_pyroute2_only_when_there_is_something_to_make() -> None:
    """It would be a quarter of the time to adoption, and a fifth of the memory."""
    assert "pyroute2" not in loaded_by("import vpnagent.daemon.daemon")
