"""The command line: one module or one package for each command or small family of commands.

``vpnagent.cli`` finds a command by its name and imports it only then, so a command pays for nothing that
another one needs. A command reads options, asks the daemon over the control socket or works without it,
prints, and sets the exit status; what it decides is in pure modules beside it or in other rooms.

Commands may do I/O. None changes charon or the kernel itself, except ``down`` and ``guard`` in ``daemon``.
Begin with ``options``, which all of them share, then read the command.
"""
