"""The control protocol between the daemon and the command line: one JSON object a line, both ways.

Request ``{"command": "status"}``; answer ``{"ok": true, "result": …}`` or ``{"ok": false, "error": "one
line", "exit_status": 1}``. Pure: both ends share the encoding, and the list of what changes something.
"""

import json
from typing import Any, Final

from vpnagent.errors import ControlError

READ_COMMANDS: Final = frozenset({"status", "plan", "events"})
CHANGE_COMMANDS: Final = frozenset({"reload", "down", "drain", "undrain", "drill", "confirm"})

MAXIMUM_LINE: Final = 4 * 1024 * 1024  #: bytes; a status of 256 tunnels is below 200 kB

NOT_FINE: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
NOT_PERMITTED: Final = 4


def encode(message: dict[str, Any]) -> bytes:
    """Return the message as one line."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n"


def request_of(line: bytes) -> dict[str, Any]:
    """Return the request in a line; raises ControlError for anything that is none."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the request is not JSON", USAGE) from None
    if not isinstance(request, dict) or not isinstance(request.get("command"), str):
        raise ControlError('a request is {"command": NAME, …}', USAGE)
    if request["command"] not in READ_COMMANDS | CHANGE_COMMANDS:
        raise ControlError(f"unknown command {request['command'][:32]!r}", USAGE)
    return request


def answer_of(line: bytes) -> Any:
    """Return the result in an answer; raises ControlError with what the daemon said is wrong."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        raise ControlError("the daemon's answer cannot be read", UNREACHABLE) from None
    if not isinstance(answer, dict):
        raise ControlError("the daemon's answer cannot be read", UNREACHABLE)
    if answer.get("ok") is not True:
        status = answer.get("exit_status")
        raise ControlError(_printable(answer.get("error")), status if isinstance(status, int) else NOT_FINE)
    return answer.get("result")


def _printable(text: object) -> str:
    """Return a text for a terminal: whoever answers in the daemon's place must not command that."""
    return "".join(c if c.isprintable() or c == "\n" else " " for c in str(text))
