"""What this program may do, and running another one to its end: no process is left behind, ever. A shell."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

FAREWELL: Final = 1.0  #: seconds in which what was killed ends, unless it is stuck in the kernel
CHUNK: Final = 65536  #: bytes
CAPABILITIES: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}  #: bits, linux/capability.h


def lacking_capabilities() -> frozenset[str]:
    """Return what this process may not do of what the daemon must (capabilities(7))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(int(line.split()[1], 16) for line in lines if line.startswith("CapEff:"))
    return frozenset(name for name, bit in CAPABILITIES.items() if not effective >> bit & 1)


class Ended(NamedTuple):
    """What came of a program."""

    status: int  #: its exit status; negative: the signal that ended it
    output: bytes
    complaint: bytes  #: what it said on standard error, if that was asked for


async def run(
    command: Sequence[str],
    *,
    seconds: float,
    given: bytes | None = None,
    complaint: bool = True,
    most: int | None = None,
) -> Ended:
    """Run a program, ``given`` on its standard input. Raises OSError, and TimeoutError after ``seconds``.

    Without ``complaint`` its standard error is ours. One that says more than ``most`` bytes is ended, and
    what it said until then is returned.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if complaint else None,
    )
    try:
        async with asyncio.timeout(seconds):
            if most is None:
                output, said = await process.communicate(given)
            else:
                output, said = await asyncio.gather(
                    _said(process, process.stdout, most), _said(process, process.stderr, most)
                )
                await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(FAREWELL):
            status = await process.wait()
    return Ended(status, output, said or b"")


async def _said(process: asyncio.subprocess.Process, stream: asyncio.StreamReader | None, most: int) -> bytes:
    """Return what a program says; kill it when that is too much."""
    held = bytearray()
    while stream and (chunk := await stream.read(CHUNK)):
        held += chunk
        if len(held) > most:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            break
    return bytes(held)
