"""What all tests share: properties are judged by their law, never by their time; Ctrl-C means something."""

import signal

import pytest
from hypothesis import settings

settings.register_profile("vpnagent", deadline=None)
settings.load_profile("vpnagent")

# A shell starts what it puts into the background with SIGINT ignored, and everything inherits that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the markers mean."""
    config.addinivalue_line("markers", "slow(reason): why it may take more than 20 s (tools/testing.py)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tell the reasons of slow tests in the junit file."""
    for item in items:
        if marker := item.get_closest_marker("slow"):
            item.user_properties.append(("slow", marker.args[0]))
