"""vpnagent support-bundle."""
