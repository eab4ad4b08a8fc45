"""Post one JSON object to a webhook: a process of its own, so that whoever waits for it can end it.

``python -P -m vpnagent.events.post`` takes ``{"url": …, "token": … or null, "body": …}`` on its standard
input: neither the address nor the token is ever an argument. Exit status 0 when the answer is 2xx, 1 when
trying again may help, 2 when it will not; then one line on standard error, without address and token.
"""

import json
import os
import sys
import urllib.error
import urllib.request
from typing import IO, Any, Final

from vpnagent import __version__
from vpnagent.secret import close_memory

AGAIN, NEVER = 1, 2
TIMEOUT: Final = 60.0  #: seconds, more than any hook may take: whoever started us ends us before
PASSING: Final = (408, 425, 429)  #: 4xx that say: later (RFC 9110, 8470, 6585)
NICENESS: Final = 10


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer like any other: the token goes to whom it was given for."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(asked: dict[str, Any]) -> tuple[int, str]:
    """Return the exit status and what went wrong."""
    headers = {"Content-Type": "application/json", "User-Agent": f"vpnagent/{__version__}"}
    if asked["token"]:
        headers["Authorization"] = f"Bearer {asked['token']}"
    body = json.dumps(asked["body"], ensure_ascii=False).encode()
    request = urllib.request.Request(asked["url"], body, headers)  # noqa: S310 - http or https, by the configuration
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=TIMEOUT):
            return 0, ""
    except urllib.error.HTTPError as error:
        final = 400 <= error.code < 500 and error.code not in PASSING  # noqa: PLR2004 - RFC 9110 §15.5
        return NEVER if final else AGAIN, f"HTTP status {error.code}"
    except urllib.error.URLError as error:
        return AGAIN, str(error.reason)
    except Exception as error:
        return AGAIN, type(error).__name__  # the texts of some hold the address


def main(given: IO[bytes], complaint: IO[str]) -> int:
    """Post what is given; return the exit status."""
    close_memory()
    os.nice(NICENESS)
    status, problem = post(json.load(given))
    if problem:
        complaint.write(problem + "\n")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.stdin.buffer, sys.stderr))
