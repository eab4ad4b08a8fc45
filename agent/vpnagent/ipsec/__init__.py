"""charon: the connections that it should have, the SAs that it has, and how to speak to it by VICI.

``plan`` compares wanted connections with those that charon has, and returns a list of actions;
``initiation`` says when to initiate a tunnel; why a negotiation failed is read from charon's log. All of
that is pure, and ``messages`` alone knows VICI's key names.

I/O is done by ``charon`` (actions, observations, events) over ``vici`` (the transport on the daemon's
loop). Begin with ``sa``, the SAs as values, then ``plan``.
"""
