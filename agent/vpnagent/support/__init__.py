"""The archive for a ticket: what is looked at, and that no secret is in it."""
