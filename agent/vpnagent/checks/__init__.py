"""What the machine looks like, and what of that breaks the tunnels.

``vpnagent check`` and the daemon use the same two steps: look, then judge. The look is a value in which
each part is either read or missing with a reason; all judging is pure and needs no machine. The daemon has
the look done once a minute by a child process (``daemon.look``), so that a slow look never holds up its loop.

I/O is done by ``observe``, ``readings`` and ``large_packets``; they read, send echo requests through the
tunnels, and change nothing. Begin with ``judge``: it lists every check.
"""
