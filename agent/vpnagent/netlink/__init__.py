"""Netlink: what the kernel says and is told, as bytes and over sockets. Daemon and prober share it.

Begin with ``message`` (header, attributes, acknowledgements), then ``rtnetlink`` (links, addresses, routes,
nexthop objects) and ``nft`` (nftables). These compute only, and the first two load nothing that the prober
has not loaded anyway. ``socket`` alone does I/O, on the daemon's loop; the prober has its own, in
``probe.kernel``. What is ours of all this, and what should be, is known in ``routing``.
"""
