"""IKE connections and SAs: what is wanted, what charon has, and how to speak to it."""
