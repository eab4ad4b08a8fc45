"""The socket between the commands and the daemon."""
