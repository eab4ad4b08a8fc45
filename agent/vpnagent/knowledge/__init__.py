"""What the daemon knows now: the values that its tasks hand to each other.

Each field names the one task that writes it; every other task, the status, the metrics and the events only
read. Beside the fields are three kinds of memory: the state of each tunnel, counters that never go back,
and the drains that drills hold.

Nothing here decides, and nothing does I/O; ``asyncio.Event`` is used to wake a task, and for nothing else.
Begin with ``knowledge``.
"""
