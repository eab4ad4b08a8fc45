"""What happened: events found by comparing, damped, kept, told, and handed to hooks."""
