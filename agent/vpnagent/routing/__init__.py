"""Interfaces, nexthops, routes and the rest of the kernel's state that carries the traffic."""
