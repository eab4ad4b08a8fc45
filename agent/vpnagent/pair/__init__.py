"""Two gateways for one data centre: what this one has to do, and what the other one has.

keepalived moves the addresses; a role is never told to us, but follows from the addresses that this machine
has at the moment. Pure. Begin with ``roles``;
docs/two-gateways.md is for the operator, docs/adr/0016-two-gateways.md has the reasons.
"""
