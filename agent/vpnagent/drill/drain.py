"""The drill's drain: asked of the daemon, renewed while it is needed, ended by whatever ends the drill."""

import secrets
import signal
import time
from typing import Any, Final

from vpnagent.control_client import ask

LEASE: Final = 5.0  #: seconds; the drain of a drill that was killed is over after so long
RENEW: Final = 1.0  #: seconds between renewals
ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Drain:
    """Of one tunnel. Methods raise ControlError when the daemon refuses or cannot be asked."""

    def __init__(self, socket_path: str, tunnel: str) -> None:
        self._socket_path = socket_path
        self._tunnel = tunnel
        self._holder = secrets.token_hex(8)
        self._held = False
        self._renewed = 0.0

    def look(self) -> dict[str, Any]:
        """Return what can be measured with; refused while another drill is under way."""
        return dict(self._ask(seconds=0))

    def begin(self) -> None:
        """Drain."""
        self._held = True  # before it is known: the answer may be lost
        self._renewed = time.monotonic()
        self._ask(seconds=LEASE)

    def renew(self) -> None:
        """Keep it, if it is held. Call this several times in ``LEASE``."""
        if self._held and time.monotonic() - self._renewed >= RENEW:
            self._renewed = time.monotonic()
            self._ask(seconds=LEASE, renewal=True)

    def end(self) -> None:
        """Undrain, if it is drained; no signal interrupts this."""
        if not self._held:
            return
        handlers = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
        try:
            self._ask(seconds=0)
            self._held = False
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _ask(self, **arguments: object) -> Any:
        """Ask for no longer than a lease lasts."""
        return ask(
            self._socket_path, "drill", timeout=LEASE, tunnel=self._tunnel, holder=self._holder, **arguments
        )


def end_on_signals() -> None:
    """Have every signal that asks this process to end do what Ctrl-C does."""
    for number in ENDING:
        signal.signal(number, signal.default_int_handler)
