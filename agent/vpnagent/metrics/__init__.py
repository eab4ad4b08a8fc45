"""Prometheus metrics: every metric declared once, its samples, and the endpoint that serves them.

All samples are computed at the scrape from what the daemon knows, so a tunnel that is removed takes its
series along. No other room knows a metric's name, except alerts and dashboard, which tests hold against
this.

I/O is done by ``endpoint`` and, for certificates and password, by ``http``: one server on the daemon's
loop, with TLS and a password if so configured. Begin with ``declared``; a metric is added there, and in
docs/metrics.md.
"""
