"""What all tests share: properties are judged by their law, never by their time; Ctrl-C means something."""

import signal

from hypothesis import settings

settings.register_profile("vpnagent", deadline=None)
settings.load_profile("vpnagent")

# A shell starts what it puts into the background with SIGINT ignored, and everything inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)
