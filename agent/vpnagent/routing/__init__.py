"""The kernel's state that carries the traffic: what there is, what there should be, and the way between them.

Begin with ``objects`` (interfaces, nexthops, groups, routes, lanes, the nftables table and settings as
values), then ``plan``, whose order of ``actions`` is the law of this room. ``observe`` reads the objects,
``kernel`` carries the actions out and hears of changes, ``failures`` says how a plan goes on after one.
``requests`` and ``fib`` are what is sent, ``filter_table`` and ``leak_guard`` our packet filter. ``uplinks``
and ``ways`` ask where packets go.

I/O is done by ``kernel`` and, below /proc/sys, by ``observe``; both talk to ``netlink.socket``. Nothing here
knows of verdicts.
"""
