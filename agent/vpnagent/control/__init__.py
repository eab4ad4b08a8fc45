"""The control socket: how a command asks the running daemon.

One unix socket, one JSON object a line in both directions. Whoever may open the socket may read; changes
are for root, the daemon's user and the admin group, by credentials that the kernel confirms.

``client`` and ``server`` do I/O: the client blocks and has a deadline, the server runs on the daemon's
loop. What a command means is not known here: ``daemon.daemon`` answers it. Begin with ``protocol``, which
is pure.
"""
