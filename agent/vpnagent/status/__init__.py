"""What vpnagent status --json is told."""
