"""The commands, a module for each or for a few that belong together; `vpnagent.cli` finds them by name."""
