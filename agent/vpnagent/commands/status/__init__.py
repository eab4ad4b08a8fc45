"""vpnagent status."""
