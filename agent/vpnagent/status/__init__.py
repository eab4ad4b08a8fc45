"""The status: what is known, as one JSON document, and the findings of all rooms in one list.

``vpnagent status --json`` prints the document as it is, the screens of ``vpnagent status`` and the support
bundle are drawn from it, and docs/status.md describes its members.

No I/O but lines in the log, when a tunnel changes its state. Begin with ``document``: each member of the
JSON is built by one function there.
"""
