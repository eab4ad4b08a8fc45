"""The Prometheus rules of one gateway, from its configuration: ``vpnagent alerts``."""
