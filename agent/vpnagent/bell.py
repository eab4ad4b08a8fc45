"""Wait for an event, but not for ever.

``asyncio.wait_for`` of Python 3.11 swallows a cancellation that arrives together with the event
(python/cpython#86296): a task that waits so in a loop could not be stopped. ``asyncio.timeout`` does not.
"""

import asyncio


async def rung(event: asyncio.Event, patience: float) -> bool:
    """Return True when the event is set within ``patience`` seconds, else False."""
    try:
        async with asyncio.timeout(patience):
            await event.wait()
    except TimeoutError:
        return False
    return True
