"""vpnagent drill."""
