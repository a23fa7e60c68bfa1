import pytest
from flex_actions_daily_limit import DAY_S, setup

from flex_actions import ActionAborted, File, connect
from flex_actions.testing import ManualClock


async def test_the_file_above_the_limit_waits_for_tomorrow():
    clock = ManualClock()
    async with connect("memory:", identity="bot", role="bot", clock=clock) as session:
        await session.plugins.load(setup, name="daily_limit", settings={"files": 2})
        sid = (await session.create_channel()).sid

        async def send():
            return await session.actions.invoke("SendMediaMessage", {"file": a_file, "channelSid": sid})

        a_file = File.from_bytes(b"hello", name="a.txt")
        await send()
        await send()
        with pytest.raises(ActionAborted, match="2 files were sent today"):
            await send()
        clock.advance(DAY_S)
        assert (await send()).index == 2
