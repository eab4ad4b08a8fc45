"""A rehearsed failover: `vpnagent drill`."""
