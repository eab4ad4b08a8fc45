"""vpnagent alerts."""
