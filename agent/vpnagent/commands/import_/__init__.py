"""vpnagent import."""
