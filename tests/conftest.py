"""A chat in memory, with a clock and identifiers that the tests own."""

import contextlib
import os

import pytest
from real_flex import BUNDLES, RealFlex, Unavailable

from flex_actions import ActionError, connect, open_backend
from flex_actions.clock import CountingIds, ManualClock


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def backend(clock):
    async with open_backend("memory:", clock=clock, ids=CountingIds()) as opened:
        yield opened


@pytest.fixture
async def ada(backend):
    """An agent."""
    async with connect(backend, identity="ada") as session:
        yield session


@pytest.fixture
async def cleo(backend):
    """A customer."""
    async with connect(backend, identity="cleo", role="customer") as session:
        yield session


@pytest.fixture
async def channel(ada, cleo):
    """The sid of a channel in which both are."""
    return (await ada.create_channel("support", members=["cleo"])).sid


@pytest.fixture
def refused():
    """`with refused("invalid_size") as caught:` the one clear error that is expected."""

    @contextlib.contextmanager
    def expect(code):
        with pytest.raises(ActionError) as caught:
            yield caught
        assert (caught.value.code, bool(caught.value.message)) == (code, True)

    return expect


@pytest.fixture
def watch():
    """`seen = watch(signal, sender)`: the facts of each emission so far."""
    connected = []

    def watch(signal, sender):
        seen = []

        def note(_, **facts):
            seen.append(facts)

        signal.connect(note, sender)
        connected.append((signal, note))
        return seen

    yield watch
    for signal, note in connected:
        signal.disconnect(note)


@pytest.fixture(scope="module", params=BUNDLES)
def real(request):
    """One of the real packages; `real.profile` is ours that has to do the same."""
    try:
        flex = RealFlex(request.param)
    except Unavailable as reason:
        if os.environ.get("CI"):
            pytest.fail(f"the real Flex: {reason}")
        pytest.skip(f"the real Flex: {reason}")
    flex.profile = request.param
    yield flex
    flex.close()
