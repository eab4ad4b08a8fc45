"""Netlink as bytes and over sockets: one codec for the daemon and the prober."""
