"""A bot sends an invoice; the customer sees it arrive and downloads it.

The chat is a real one, kept on disk; here in a temporary folder, so that nothing is left behind.
"""

import asyncio
import tempfile
from hashlib import sha256
from pathlib import Path

from flex_actions import File, connect

INVOICE = Path(__file__).with_name("invoice.pdf")


async def main(folder):
    chat = f"local:{folder}/chat"
    async with (
        connect(chat, identity="billing", role="bot") as bot,
        connect(chat, identity="carl", role="customer") as carl,
    ):
        sid = (await bot.create_channel("support", members=["carl"])).sid

        wrong = File.from_bytes(b"Carl always pays late.", name="notes.txt")
        await bot.actions.invoke("AttachFile", {"file": wrong, "channelSid": sid})
        await bot.actions.invoke("DetachFile", {"channelSid": sid})
        await bot.actions.invoke("AttachFile", {"file": INVOICE, "channelSid": sid})
        print("attached:", bot.input(sid).file.name)
        sent = await bot.actions.invoke("SendMediaMessage", {"channelSid": sid})
        print("sent as message", sent.index)

        [message] = await carl.messages(sid)
        print(f"carl sees {message.media.name}, {message.media.size_bytes} bytes, from {message.author}")
        link = await carl.actions.invoke("DownloadMedia", {"message": message, "channelSid": sid})
        path = await carl.download(link, Path(folder))
        same = sha256(path.read_bytes()).digest() == sha256(INVOICE.read_bytes()).digest()
        print("carl downloaded", path.name, "- the same file:", same)


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))

# Output:
# attached: invoice.pdf
# sent as message 0
# carl sees invoice.pdf, 712 bytes, from billing
# carl downloaded invoice.pdf - the same file: True
