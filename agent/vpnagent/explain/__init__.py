"""What a name or an address is to this gateway: its kind, its way now, its answer, and what to do."""
