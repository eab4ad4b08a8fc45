"""Whether a path carries traffic: the prober and what it shares with the control daemon."""
