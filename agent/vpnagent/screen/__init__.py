"""The status as a screen for a person: what is wrong first, then the tables."""
