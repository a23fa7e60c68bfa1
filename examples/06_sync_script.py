"""A script without asyncio: collect the files of a chat in a folder."""

import tempfile
from pathlib import Path

from flex_actions import ActionError, File, connect_sync

with (
    tempfile.TemporaryDirectory() as folder,
    connect_sync(f"local:{folder}/chat", identity="archive", role="bot") as session,
):
    sid = session.create_channel("support").sid
    session.invoke("SendMessage", {"body": "Hello", "channelSid": sid})
    for name in ("a.txt", "b.pdf", "c.exe"):
        try:
            session.invoke("SendMediaMessage", {"file": File.from_bytes(name.encode(), name=name), "channelSid": sid})
        except ActionError as error:
            print(f"{error.code}: {error}")

    target = Path(folder, "files")
    target.mkdir()
    for message in session.messages(sid):
        if message.media:
            path = session.download(message, target)
            print(path.name, path.read_bytes())

# Output:
# invalid_type: 'c.exe' has the extension 'exe'; accepted: jpg, jpeg, png, gif, txt, pdf.
# a.txt b'a.txt'
# b.pdf b'b.pdf'
