"""What happened: changes between two looks at what the daemon knows, as numbered events.

An event is found by comparison, damped if it comes in a storm, written to the log and to a file in the
state directory, counted, and handed to the operator's hooks. No other room reports an event: it only
changes what is known.

Finding and damping are pure. ``recorder``, ``store``, ``hooks`` and the two small programs ``post`` and
``unprivileged`` do I/O: files, child processes, webhooks. Begin with ``event``, then ``detect``.
"""
