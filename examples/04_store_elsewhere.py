"""A replacement: big files go to a folder of our own and the chat gets their address; small ones go as usual."""

import asyncio
import tempfile
from pathlib import Path

from flex_actions import File, connect


def store_elsewhere(actions, folder, above_bytes):
    """Replace `SendMediaMessage` for files of more than `above_bytes`."""

    async def send_address(payload, original):
        file = payload.file
        if file is None or file.size_bytes <= above_bytes:
            return await original()
        path = folder / file.name  # the name is clean: no path parts, nothing reserved
        with path.open("xb") as target:
            async for chunk in file.chunks():
                await asyncio.to_thread(target.write, chunk)
        text = f"{file.name}: https://files.example/{path.name}"
        return await actions.invoke("SendMessage", {"body": text, "channelSid": payload.channel_sid})

    return actions.replace("SendMediaMessage", send_address)


async def main(folder):
    async with connect("memory:", identity="ada") as ada:
        store_elsewhere(ada.actions, folder, above_bytes=1000)
        sid = (await ada.create_channel()).sid
        for name, size_bytes in (("note.txt", 10), ("manual.pdf", 5000)):
            file = File.from_bytes(b"x" * size_bytes, name=name)
            await ada.actions.invoke("SendMediaMessage", {"file": file, "channelSid": sid})

        for message in await ada.messages(sid):
            print(message.index, message.body or f"the file {message.media.name}")
        print("in the folder:", [f"{p.name}, {p.stat().st_size} bytes" for p in folder.iterdir()])


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(Path(folder)))

# Output:
# 0 the file note.txt
# 1 manual.pdf: https://files.example/manual.pdf
# in the folder: ['manual.pdf, 5000 bytes']
