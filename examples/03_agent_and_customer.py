"""An agent and a customer talk; each follows the chat and answers the other."""

import asyncio
from contextlib import aclosing

from flex_actions import File, connect

PHOTO = File.from_bytes(b"\xff\xd8\xff (a photo)", name="broken.jpg")


async def from_others(session, sid):
    """The messages of the others, those that are there and those to come."""
    async with aclosing(session.follow(sid)) as events:
        async for event in events:
            message = event.message
            if event.type == "message_added" and message.author != session.identity:
                print(f"{session.identity} reads: {message.body or message.media.name}")
                yield message


async def agent(ada, sid):
    async with aclosing(from_others(ada, sid)) as messages:
        async for message in messages:
            if message.media:
                await ada.actions.invoke("SendMessage", {"body": "A new pair is on its way.", "channelSid": sid})
                return
            await ada.actions.invoke("SendMessage", {"body": "May I see a photo?", "channelSid": sid})


async def customer(carl, sid):
    await carl.actions.invoke("SendMessage", {"body": "My sunglasses broke.", "channelSid": sid})
    async with aclosing(from_others(carl, sid)) as messages:
        async for message in messages:
            if "photo" not in message.body:
                return
            await carl.actions.invoke("SendMediaMessage", {"file": PHOTO, "channelSid": sid})


async def main():
    async with (
        connect("memory:shop", identity="ada", role="agent") as ada,
        connect("memory:shop", identity="carl", role="customer") as carl,
    ):
        sid = (await ada.create_channel("support", members=["carl"])).sid
        await asyncio.gather(agent(ada, sid), customer(carl, sid))


asyncio.run(main())

# Output:
# ada reads: My sunglasses broke.
# carl reads: May I see a photo?
# ada reads: broken.jpg
# carl reads: A new pair is on its way.
