"""Run another program to its end, or end it: whatever interrupts the wait, no process is left behind."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple


class Ended(NamedTuple):
    """What came of a program."""

    status: int  #: its exit status; negative: the signal that ended it
    output: bytes
    complaint: bytes  #: what it said on standard error, if that was asked for


async def run(
    command: Sequence[str], *, seconds: float, given: bytes | None = None, complaint: bool = True
) -> Ended:
    """Run a program, ``given`` on its standard input. Raises OSError, and TimeoutError after ``seconds``.

    Without ``complaint`` its standard error is ours.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL if given is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE if complaint else None,
    )
    try:
        async with asyncio.timeout(seconds):
            output, said = await process.communicate(given)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
    return Ended(status, output, said or b"")
