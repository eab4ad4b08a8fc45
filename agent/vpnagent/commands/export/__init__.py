"""vpnagent export."""
