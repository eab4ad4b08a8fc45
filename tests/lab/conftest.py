"""Fixtures of the kernel lab: one lab for the session, one clean beginning for each scenario."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import pytest
from lab.deadline import EMULATED
from lab.gateway import LabGateway
from lab.world import Lab

SCENARIO_DEADLINE = 240 if EMULATED else 60


@pytest.fixture(scope="session")
def whole_lab() -> Iterator[Lab]:
    """The running lab."""
    begin = time.monotonic()
    lab = Lab()
    lab.start(zygote=EMULATED)
    print(f"\nlab: topology and charons are up after {time.monotonic() - begin:.1f} s", flush=True)
    yield lab
    lab.save_captures()
    lab.stop()


@pytest.fixture
def lab(whole_lab: Lab, request: pytest.FixtureRequest) -> Iterator[Lab]:
    """The lab at the beginning of a scenario; its logs are saved after it."""
    whole_lab.begin()
    yield whole_lab
    whole_lab.save(request.node.name)


@pytest.fixture
def gateway(lab: Lab) -> Iterator[LabGateway]:
    """An agent that is configured, not started; after the scenario it and all of its traces are removed."""
    gateway = LabGateway(lab)
    yield gateway
    lab.faults.clear()
    if lab.charon.pid is None:
        lab.charon.restart()
    try:
        if gateway.process is not None:
            gateway.down()
    finally:
        if gateway.pid:
            gateway.kill()
        lab.remove_traces()


@contextmanager
def deadline(item: pytest.Item) -> Iterator[None]:
    """Nothing hangs: after its deadline a phase of a scenario fails where it stands."""

    def expired(_signal: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"the deadline of this phase has passed, at {frame}")

    marker = item.get_closest_marker("deadline")
    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(int(marker.args[0]) if marker else SCENARIO_DEADLINE)
    try:
        yield
    finally:  # disarmed before pytest reports, which can be slow
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    with deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    with deadline(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    with deadline(item):
        return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Say what the lab's markers mean."""
    config.addinivalue_line("markers", "deadline(seconds): a scenario's own deadline, for each of its phases")
    config.addinivalue_line("markers", "smp: about load or more than one processor: not in simulated time")
