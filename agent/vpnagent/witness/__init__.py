"""The witness: would a host's packet go into a tunnel of ours, now? Asked of the kernel, network by network.

Tunnels can all be up while nothing arrives: health is the chain's, LAN, forwarding, rule, route, group,
interface, negotiated selectors, and back. ``questions`` says what to ask the kernel (as ``ip route get``
does), ``judgement`` what follows from facts and answers: both pure. ``look`` asks, in two batches of
netlink messages, and changes nothing. ``daemon.witness`` has it done once a second and after every round of
the kernel's reconciler. Begin with ``values``; docs/adr/0012-witness.md has the reasons.
"""
