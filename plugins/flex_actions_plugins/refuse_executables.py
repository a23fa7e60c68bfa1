"""Refuse programs, whatever they are called: by the first bytes of the file, and by the end of its name.

    async with connect(url, identity="ada", plugins=["refuse_executables"]) as session: …

It is no virus scanner. A program inside an archive or a document passes, and so does a script under a harmless name
that does not begin with `#!`.
"""

import contextlib
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

from flex_actions import AttachFilePayload, File, Plugin, SendMediaMessagePayload

HEAD_BYTES: Final = 512

EXTENSIONS: Final = (
    # Windows
    "exe", "com", "scr", "pif", "cpl", "dll", "sys", "ocx", "drv", "msi", "msp", "mst", "msix", "appx", "gadget",
    "bat", "cmd", "ps1", "psm1", "psd1", "vb", "vbs", "vbe", "js", "jse", "ws", "wsf", "wsh", "wsc", "sct", "hta",
    "lnk", "url", "scf", "reg", "inf", "chm", "msc", "xll",
    # macOS, Linux, phones
    "app", "command", "workflow", "scpt", "pkg", "dmg", "sh", "bash", "zsh", "csh", "ksh", "run", "elf",
    "so", "dylib", "appimage", "deb", "rpm", "desktop", "apk", "ipa", "dex",
    # any system with the right interpreter
    "jar", "jnlp", "class", "py", "pyc", "pyw", "pyz", "pl", "rb", "php", "wasm",
)  # fmt: skip

# An old Word file begins like an installer (both are OLE), and a jar like any zip: the name must tell those.
_MAGIC: Final = (
    (b"\x7fELF", "a Linux program"),
    (b"\xfe\xed\xfa\xce", "a macOS program"),
    (b"\xfe\xed\xfa\xcf", "a macOS program"),
    (b"\xce\xfa\xed\xfe", "a macOS program"),
    (b"\xcf\xfa\xed\xfe", "a macOS program"),
    (b"\xca\xfe\xba\xbe", "a macOS program or a Java class"),
    (b"\xbe\xba\xfe\xca", "a macOS program"),
    (b"\xca\xfe\xba\xbf", "a macOS program"),
    (b"\xbf\xba\xfe\xca", "a macOS program"),
    (b"FasdUAS ", "a compiled AppleScript"),
    (b"L\0\0\0\x01\x14\x02\0\0\0\0\0\xc0\0\0\0\0\0\0F", "a Windows shortcut"),
    (b"dex\n", "an Android program"),
    (b"\0asm", "a WebAssembly program"),
    (b"#!", "a script"),
    (b"\xef\xbb\xbf#!", "a script"),
)


def _extensions(value: Iterable[str]) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError('extensions are a list, as in ["docm", "iso"]')
    found = list(value)
    if not all(isinstance(e, str) and e.strip(". ") for e in found):
        raise ValueError(f"extensions are words, not {found!r}")
    return tuple(e.strip().lstrip(".").casefold() for e in found)


@attrs.frozen
class Settings:
    """`config["plugins"]["refuse_executables"]`.

    Attributes:
        extensions: name endings to refuse, without dot and case; a list of your own takes the place of ours, and an
            empty one leaves only the look at the content.
        extra_extensions: endings to refuse besides.
    """

    extensions: tuple[str, ...] = attrs.field(default=EXTENSIONS, converter=_extensions)
    extra_extensions: tuple[str, ...] = attrs.field(default=(), converter=_extensions)


def setup(plugin: Plugin) -> None:
    """Guard the two actions that take a file."""
    settings = plugin.settings(Settings)
    endings = tuple("." + e for e in (*settings.extensions, *settings.extra_extensions))

    async def refuse_executables(
        payload: AttachFilePayload | SendMediaMessagePayload, abort: Callable[[object], Any]
    ) -> None:
        file = payload.file
        if file is None:
            return  # nothing is attached: the action itself refuses that
        if file.name.casefold().endswith(endings):
            abort(f"the name {file.name!r} is that of a program")
        elif kind := kind_of_program(await _head(file)):
            abort(f"the content of {file.name!r} is {kind}")

    for action in ("AttachFile", "SendMediaMessage"):
        plugin.actions.guard(action, refuse_executables)


def kind_of_program(head: bytes) -> str | None:
    """What kind of program begins with these bytes, for people; None if it is none that we know."""
    if head.startswith(b"MZ") and not _is_text(head):
        return "a Windows program"
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def _is_text(head: bytes) -> bool:
    """Whether it could be a text that happens to begin with two letters: a program has control characters."""
    return not any(byte < 32 and byte not in b"\t\n\f\r" for byte in head)


async def _head(file: File) -> bytes:
    """The first bytes, however small the pieces are that a stream gives."""
    head = b""
    async with contextlib.aclosing(file.chunks(HEAD_BYTES)) as chunks:
        async for chunk in chunks:
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    return head[:HEAD_BYTES]
