"""What all tests share: properties are judged by their law, never by their time."""

from hypothesis import settings

settings.register_profile("vpnagent", deadline=None)
settings.load_profile("vpnagent")
