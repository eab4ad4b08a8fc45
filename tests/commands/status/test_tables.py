from tools.screens import NOW, document

from vpnagent.commands.status import tables
from vpnagent.commands.status.canvas import Canvas, plain
from vpnagent.record import Json


def route(number: int, state: str = "installed") -> Json:
    return {
        "prefix": f"10.{number}.0.0/16",
        "nexthops": ["vpn-primary"] * (state == "installed"),
        "state": state,
    }


def routes(status: Json, canvas: Canvas) -> list[str]:
    return [plain(told) for told in tables.routes(status, canvas)]


def test_many_routes_that_are_alike_are_one_line_on_a_terminal() -> None:
    status = {**document("healthy"), "routes": [*map(route, range(40)), route(40, "missing")]}
    assert routes(status, Canvas(width=100))[1:] == [
        "10.0.0.0/16, 10.1.0.0/16 and 38 more  installed  hangzhou/primary  vpn-primary",
        "10.40.0.0/16                          missing    unreachable",
    ]


def test_a_pipe_has_a_line_for_every_route() -> None:
    status = {**document("healthy"), "routes": [*map(route, range(40))]}
    assert len(routes(status, Canvas())) == 1 + 40


def test_many_next_hops_are_counted_on_a_terminal_and_named_in_a_pipe() -> None:
    status = document("healthy")
    status["routes"] = [{"prefix": "100.64.0.0/10", "nexthops": list("abcd"), "state": "installed"}]
    assert routes(status, Canvas(width=80))[1] == "100.64.0.0/10  installed  a, b and 2 more  a, b and 2 more"
    assert routes(status, Canvas())[1] == "100.64.0.0/10  installed  a, b, c, d  a, b, c, d"


def tunnels(status: Json, width: int | None) -> list[str]:
    return [plain(told) for told in tables.tunnels(status, NOW["failover"], Canvas(width=width))]


def test_a_reason_that_has_no_column_and_is_told_nowhere_stands_beneath() -> None:
    status = document("failover")
    assert "    nothing heard for 0.3 s" not in tunnels(status, 80)
    status["warnings"] = []
    assert tunnels(status, 80)[2] == "    nothing heard for 0.3 s"
    assert tunnels(status, None)[1].endswith("  nothing heard for 0.3 s")


def test_a_tunnel_that_is_up_needs_no_reason() -> None:
    assert len(tunnels(document("healthy"), 80)) == 1 + 2


def test_without_a_failover_there_is_no_table_of_failovers() -> None:
    assert list(tables.failovers(document("healthy"), NOW["healthy"], Canvas())) == []
