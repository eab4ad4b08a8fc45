"""Programs of the people who build vpnagent. Not part of what is installed."""
