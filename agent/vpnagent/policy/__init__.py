"""What is decided: pure."""
