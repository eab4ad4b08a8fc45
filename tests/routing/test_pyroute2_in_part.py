import subprocess
import sys


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_the_daemon_loads_only_the_messages_of_pyroute2() -> None:
    loaded = set(run("import sys, vpnagent.daemon; print(*sys.modules)").split())
    assert "pyroute2.netlink.rtnl.ifinfmsg" in loaded
    assert not loaded & {"pyroute2.iproute", "pyroute2.ndb", "pyroute2.ethtool"}


def test_whoever_asks_for_more_gets_all_of_it() -> None:
    program = (
        "import vpnagent.routing.requests, pyroute2; print(pyroute2.IPRoute.__name__);"
        "from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg;"
        "import vpnagent.routing.requests as r; print(r.ifinfmsg is ifinfmsg)"
    )
    assert run(program).split() == ["IPRoute", "True"]


def test_a_pyroute2_that_is_there_already_stays() -> None:
    program = "import sys, pyroute2, vpnagent.routing.requests; print(pyroute2 is sys.modules['pyroute2'])"
    assert run(program) == "True\n"
