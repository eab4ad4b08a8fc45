"""The real daemon and its real prober, where the kernel has no XFRM interfaces and there is no charon.

``stand_in_daemon.py CONFIG [LOCAL REMOTE]``, or ``stand_in_daemon.py down OPTIONS``. It differs from
``vpnagent run`` in two things: interfaces of kind veth, made beforehand, stand for XFRM ones, and charon is
tests/fake_charon.py, which brings every tunnel up that is initiated, narrowed to LOCAL === REMOTE if given.
"""

import asyncio
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.fake_charon import FakeCharon

from vpnagent import log
from vpnagent.cli import main
from vpnagent.commands.options import DEFAULT_STATE, agent_key
from vpnagent.config.values import Config
from vpnagent.daemon import daemon
from vpnagent.daemon.memory import Standing
from vpnagent.errors import AgentError
from vpnagent.ipsec.sa import CharonState, ViciEvent
from vpnagent.policy import desired
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.routing.objects import XfrmLink

real_links = desired._links


def stand_ins(conf: Config) -> Iterator[XfrmLink]:
    return (replace(link, if_id=0) for link in real_links(conf))


class StandInKernel(NetlinkKernel):
    def __init__(self, *, on_change: Callable[[], None]) -> None:
        super().__init__(on_change=on_change, link_kind="veth")


class Narrowing(FakeCharon):
    """Tells of every CHILD_SA that it was negotiated for the networks of the command line only."""

    async def observe(self) -> CharonState:
        state = await super().observe()
        local, remote = (sys.argv[2],), (sys.argv[3],)
        sas = [
            replace(
                sa,
                children=tuple(replace(child, local_ts=local, remote_ts=remote) for child in sa.children),
            )
            for sa in state.sas
        ]
        return replace(state, sas=tuple(sas))


def charon_of(_path: str, on_event: Callable[[ViciEvent], None]) -> FakeCharon:
    return (Narrowing if len(sys.argv) > 2 else FakeCharon)(on_event=on_event)


def run(path: str) -> None:
    log.configure(debug=False)
    standing = Standing(path, agent_key(path, "state_directory", DEFAULT_STATE))
    asyncio.run(daemon.Daemon(path, standing.start(), standing).run())


if __name__ == "__main__":
    desired._links = stand_ins
    daemon.NetlinkKernel = StandInKernel  # type: ignore[attr-defined,assignment]
    daemon.Charon = charon_of  # type: ignore[attr-defined,assignment]
    sys.argv[0] = "vpnagent"
    if sys.argv[1] == "down":
        main()
    try:
        run(sys.argv[1])
    except AgentError as error:
        print(f"vpnagent: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))
