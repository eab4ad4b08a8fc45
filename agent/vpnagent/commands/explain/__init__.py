"""vpnagent explain."""
