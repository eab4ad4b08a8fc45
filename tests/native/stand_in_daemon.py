"""The real daemon with its real prober, where the kernel has no XFRM interfaces and there is no charon.

``python -m tests.native.stand_in_daemon CONFIG [LOCAL REMOTE]``. It differs from ``vpnagent run`` in two
things: interfaces of kind veth, made beforehand, stand for XFRM ones, and charon is `tests.fake_charon`,
which brings every tunnel that is initiated up at once, narrowed to LOCAL === REMOTE if these are given.
"""

import asyncio
import sys
from collections.abc import Iterator
from dataclasses import replace

from tests.fake_charon import FakeCharon

from vpnagent import daemon, desired, log
from vpnagent.commands.options import DEFAULT_STATE, agent_key
from vpnagent.config.values import Config
from vpnagent.ipsec.sa import CharonState
from vpnagent.routing import netlink
from vpnagent.routing.objects import XfrmLink
from vpnagent.standing import Standing

_links = desired._links


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


def _without_if_ids(config: Config) -> Iterator[XfrmLink]:
    return (replace(link, if_id=0) for link in _links(config))


def main() -> None:
    """Run until SIGTERM."""
    path = sys.argv[1]
    charon = Narrowing if len(sys.argv) > 2 else FakeCharon
    stand_ins = {
        "Kernel": lambda *, on_change: netlink.Kernel(on_change=on_change, link_kind="veth"),
        "Charon": lambda _path, on_event: charon(on_event=on_event),
    }
    vars(daemon).update(stand_ins)
    vars(desired)["_links"] = _without_if_ids
    standing = Standing(path, agent_key(path, "state_directory", DEFAULT_STATE))
    loaded = standing.start()
    log.configure(debug=False)
    asyncio.run(daemon.Daemon(path, loaded, standing).run())


if __name__ == "__main__":
    main()
