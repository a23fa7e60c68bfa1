"""A hook that refuses programs, whatever they are called.

The bundled plugin `refuse_executables` knows more kinds: connect(…, plugins=["refuse_executables"]).
"""

import asyncio
from contextlib import aclosing

from flex_actions import ActionAborted, File, connect


async def main():
    async with connect("memory:", identity="ada") as ada:

        @ada.actions.guard("AttachFile")
        async def refuse_windows_programs(payload, abort):
            async with aclosing(payload.file.chunks()) as chunks:
                async for chunk in chunks:
                    if chunk.startswith(b"MZ"):
                        abort("this is a Windows program")
                    break

        sid = (await ada.create_channel()).sid
        for name, content in (("holiday.jpg", b"MZ\x90\x00"), ("letter.txt", b"Dear Carl, ...")):
            file = File.from_bytes(content, name=name)
            try:
                await ada.actions.invoke("AttachFile", {"file": file, "channelSid": sid})
                print(f"{name}: attached")
            except ActionAborted as refusal:
                print(f"{name}: refused, {refusal.reason}")


asyncio.run(main())

# Output:
# holiday.jpg: refused, this is a Windows program
# letter.txt: attached
