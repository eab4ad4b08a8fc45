"""What is decided: from configuration and verdicts to what the kernel and charon should have.

``desired`` is the only place where policy becomes objects, and ``selection`` the only place where one
tunnel is chosen before another. The daemon, the prober and ``vpnagent plan`` call the same functions, so a
plan made on a laptop is what the daemon would do.

Everything here is pure: no clock, no I/O, no memory. Begin with ``selection``, then ``desired``.
"""
