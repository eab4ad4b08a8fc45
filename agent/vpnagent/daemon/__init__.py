"""The control daemon: when to observe, when to act, and what to keep across a restart.

One asyncio loop runs a task for charon, one for the kernel, one for the prober, and smaller ones. They
share one ``Knowledge`` and do not call each other. What to do is decided by pure functions of ``policy``,
``ipsec`` and ``routing``; this room calls them at the right time, and carries out what they return.

Nearly every module here does I/O, through the rooms that own it (``ipsec.charon``, ``routing.kernel``,
``probe.client``). Begin with ``daemon``, which puts the parts together, then ``kernel``, the simplest loop.
"""
