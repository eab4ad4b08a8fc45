"""What the daemon knows."""
