"""A module that does I/O says so; the prober's process imports nothing of third parties."""

import ast
import pathlib
import re
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "agent" / "vpnagent"
#: rooms that are shells as a whole; elsewhere a module's opening says "A shell."
DOORS = {"control", "daemon"}
WORDS_ONLY = {
    "knowledge/knowledge.py": "asyncio",  # Event: the bells between the tasks
    "metrics/declared.py": "prometheus_client",  # its families of samples
    "probe/slots.py": "socket",  # an address from text, and the one that the kernel would send from
    "routing/requests.py": "pyroute2",  # its message classes: bytes in, bytes out
}  #: module -> what it uses of a module that does I/O, without doing any
IMPURE = {"asyncio", "socket", "subprocess", "threading", "time", "pyroute2", "prometheus_client", "select"}
MODULES = sorted(PACKAGE.rglob("*.py"))
NAMES = [str(path.relative_to(PACKAGE)) for path in MODULES]


def imports(name: str) -> set[str]:
    imported = set()
    for node in ast.walk(ast.parse((PACKAGE / name).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
    return imported


@pytest.mark.parametrize("name", [name for name in NAMES if name.split("/")[0] not in DOORS])
def test_a_module_that_does_io_says_so_and_a_pure_one_does_none(name: str) -> None:
    opening = ast.get_docstring(ast.parse((PACKAGE / name).read_text())) or ""
    does = {module.split(".")[0] for module in imports(name)} & IMPURE - {WORDS_ONLY.get(name)}
    says = re.search(r"\b(A|a|The|the) shell\b", opening)
    assert not does or says, f"{does}: its opening must say that it is a shell"
    assert not (does and opening.split("\n\n")[0].endswith("Pure."))


@pytest.mark.parametrize("room", ["policy", "status"])
def test_rooms_that_decide_are_pure_as_a_whole(room: str) -> None:
    assert [name for name in NAMES if name.startswith(f"{room}/") if imports(name) & IMPURE] == []


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
