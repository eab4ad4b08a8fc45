"""The control daemon: put the parts together, answer commands, stop as told.

It wires; it decides nothing. Policy is in ``desired`` and ``selection``, when to act in the reconcilers,
how to keep tasks alive in ``supervisor``. SIGTERM leaves everything in place; ``down`` removes it.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import time
from dataclasses import replace
from typing import Any

from vpnagent import __version__
from vpnagent.control import server
from vpnagent.control.protocol import NOT_FINE
from vpnagent.daemon import memory
from vpnagent.daemon.charon import CharonReconciler
from vpnagent.daemon.kernel import KernelReconciler
from vpnagent.daemon.memory import Keeping, Loaded, Standing
from vpnagent.daemon.pair import HealthTeller, PairTalk
from vpnagent.daemon.patrol import Patrol
from vpnagent.daemon.prober import ProberLink, socket_beside
from vpnagent.daemon.reloading import Reloader, confirm_within, weak_points
from vpnagent.daemon.supervisor import Task, notify, supervise, watchdog_interval
from vpnagent.daemon.witness import Watch
from vpnagent.errors import ControlError
from vpnagent.events.recorder import Recorder
from vpnagent.ipsec.charon import Charon
from vpnagent.knowledge import leases
from vpnagent.knowledge.incidents import Incidents
from vpnagent.knowledge.knowledge import Knowledge
from vpnagent.log import tell_of_storms
from vpnagent.metrics.endpoint import Endpoint
from vpnagent.policy.choice import to_plain
from vpnagent.policy.naming import tunnel_key
from vpnagent.probe import namespace_lock
from vpnagent.routing.kernel import NetlinkKernel
from vpnagent.status import report
from vpnagent.status.document import status

log = logging.getLogger(__name__)

DOWN_DEADLINE = 20.0  #: seconds that ``down`` may take to remove everything
REPORT_PERIOD = 0.2  #: seconds between looks at whether states or findings changed


class Daemon:
    """One run of the daemon, begun with ``loaded``; ``standing`` is what each reload reads.

    ``prober_supervised``: a service manager runs the prober.
    """

    def __init__(
        self, config_path: str, loaded: Loaded, standing: Standing, *, prober_supervised: bool = False
    ) -> None:
        config = loaded.config
        self._config_path = config_path
        self._loaded = loaded
        self._known = Knowledge(
            config=config,
            loaded_at=time.time(),
            config_error=loaded.error,
            config_findings=weak_points(config),
            drained=memory.read(config.agent.state_directory),
            incidents=Incidents(memory.read_incidents(config.agent.state_directory)),
        )
        self._kernel = NetlinkKernel(on_change=self._known.kernel_dirty.set)
        self._kernel_reconciler = KernelReconciler(self._kernel, self._known)
        self._charon_reconciler = CharonReconciler(
            self._known, lambda on_event: Charon(config.agent.vici_socket, on_event=on_event)
        )
        self._prober = ProberLink(self._known, supervised=prober_supervised)
        self._keeping = Keeping(self._known)
        self._reloader = Reloader(self._known, standing, self._keeping, self._wake)
        self._patrol = Patrol(self._known, config_path)
        self._watch = Watch(self._known)
        self._events = Recorder(self._known, time.time(), time.monotonic())
        self._stop = asyncio.Event()
        self._progress = time.monotonic()

    async def run(self) -> None:
        """Run until SIGTERM, SIGINT or ``down``.

        Raises NetlinkError without the capability, and LockError where another one runs.
        """
        control_socket = self._known.config.agent.control_socket
        await server.refuse_if_alive(control_socket)
        lock = namespace_lock.hold_as_daemon(
            configuration=self._config_path,
            control_socket=control_socket,
            prober_socket=socket_beside(control_socket),
        )
        try:
            await self._run()
        finally:
            os.close(lock)

    async def _run(self) -> None:
        await self._kernel.open()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await supervise(self._tasks(), self._stop)
        finally:
            notify("STOPPING=1")
            await self._events.close(time.time())
            self._charon_reconciler.close()
            self._kernel.close()
        log.info("stopped tunnels-and-routes=%s", "left" if self._known.config.connections else "removed")

    def _tasks(self) -> dict[str, Task]:
        agent = self._known.config.agent
        tasks: dict[str, Task] = {
            "kernel": self._kernel_reconciler.run,
            "kernel-monitor": self._kernel.monitor,
            "charon": self._charon_reconciler.run,
            "prober": self._prober.run,
            "prober-feed": self._prober.feed,
            "prober-packets": self._prober.craft,
            "control": lambda: server.serve(agent.control_socket, self._answer),
            "report": self._report,
            "events": self._events.run,
            "hooks": self._events.run_hooks,
            "keeping": self._keeping.run,
            "incidents": self._keeping.run_incidents,
            "patrol": self._patrol.run,
            "witness": self._watch.run,
            "ready": self._ready,
            "reload-signal": self._reload_on_hangup,
            "confirmation": self._reloader.watch,
            "pair": HealthTeller(self._known).run,
            "pair-talk": PairTalk(self._known).run,
        }
        if agent.metrics_listen:
            tasks["metrics"] = Endpoint(self._known).serve
        if interval := watchdog_interval(pid=os.getpid()):
            tasks["watchdog"] = lambda: self._watchdog(interval)
        return tasks

    async def _ready(self) -> None:
        """Tell systemd when the first round is done; charon may take longer, or be absent."""
        await self._kernel_reconciler.observed.wait()
        gc.freeze()
        notify("READY=1", f"STATUS=vpnagent {__version__}")
        log.info("ready")
        await self._reloader.started(self._loaded)

    async def _report(self) -> None:
        while True:
            self._expire_drills()
            at = time.time()
            report.refresh(self._known, at)
            self._events.look(at, time.monotonic())
            tell_of_storms()
            self._progress = time.monotonic()
            await asyncio.sleep(REPORT_PERIOD)

    async def _watchdog(self, interval: float) -> None:
        while True:
            if time.monotonic() - self._progress < interval:
                notify("WATCHDOG=1")
            await asyncio.sleep(interval / 2)

    async def _reload_on_hangup(self) -> None:
        hangup = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)
        while True:
            await hangup.wait()
            hangup.clear()
            with contextlib.suppress(ControlError):
                await self._reloader.reload()

    async def _answer(self, request: dict[str, Any]) -> Any:
        match request["command"]:
            case "status":
                report.refresh(self._known, time.time())
                return status(self._known)
            case "plan":
                seen = to_plain(self._known.verdicts(), self._known.carrying())
                return {**seen, "reload": await self._reloader.preview()}
            case "events":
                return await self._events.answer(request)
            case "reload":
                return await self._reloader.reload(within=confirm_within(request))
            case "confirm":
                return await self._reloader.confirm()
            case "drain" | "undrain":
                return await self._drain(request)
            case "drill":
                return self._drill(request)
            case _:
                return await self._down()

    async def _drain(self, request: dict[str, Any]) -> dict[str, Any]:
        key = tunnel_key(self._known.config, str(request.get("tunnel", "")))
        drained = self._known.drained
        self._known.drained = drained | {key} if request["command"] == "drain" else drained - {key}
        self._wake()
        if problem := await self._keeping.keep_drains():
            log.warning("drain-not-kept error=%r", problem)
        return {"tunnel": str(key), "drained": key in self._known.drained, "warning": problem}

    def _drill(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = leases.request_of(self._known.config, request)
        self._expire_drills()
        if self._known.drills.take(asked, time.monotonic()):
            log.info("drill-%s tunnel=%s", "began" if asked.seconds else "ended", asked.tunnel)
            self._wake()
        return leases.stream_of(self._known.config, asked.tunnel)

    def _expire_drills(self) -> None:
        for tunnel in self._known.drills.expire(time.monotonic()):
            log.warning("drill-ended tunnel=%s: it was not renewed in time", tunnel)
            self._wake()

    async def _down(self) -> dict[str, Any]:
        """Remove everything that is ours, then stop: the same reconcilers, with nothing desired."""
        log.info("going-down")
        await self._prober.quit()
        self._known.config = replace(self._known.config, connections=())
        self._kernel_reconciler.converged.clear()
        self._charon_reconciler.converged.clear()
        self._wake()
        try:
            async with asyncio.timeout(DOWN_DEADLINE):
                if self._known.charon.connected:
                    await self._charon_reconciler.converged.wait()
                await self._kernel_reconciler.converged.wait()
        except TimeoutError:
            raise ControlError(
                f"not everything could be removed within {DOWN_DEADLINE:g} s", NOT_FINE
            ) from None
        asyncio.get_running_loop().call_later(0.1, self._stop.set)  # after this answer has been sent
        return {"charon": self._known.charon.connected}

    def _wake(self) -> None:
        self._known.kernel_dirty.set()
        self._known.charon_dirty.set()
        self._known.probe_dirty.set()
        self._known.check_dirty.set()
