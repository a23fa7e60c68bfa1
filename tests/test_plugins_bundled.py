"""The plugins that come with flex_actions, loaded by name as anybody would load them."""

import contextlib

import pytest

from flex_actions import ActionError, File, connect

ACCEPT_ALL = {
    "fileAttachment": {"acceptedExtensions": ["txt", "pdf", "doc", "zip", "exe", "scr", "js", "jar", "docm", "tar.gz"]}
}
PROGRAMS = {
    "PE": b"MZ\x90\x00\x03\x00\x00\x00" + bytes(52) + b"\x80\x00\x00\x00",
    "ELF": b"\x7fELF\x02\x01\x01\x00",
    "Mach-O 32": b"\xfe\xed\xfa\xce\x00\x00\x00\x12",
    "Mach-O 64": b"\xfe\xed\xfa\xcf\x01\x00\x00\x07",
    "Mach-O 32, little endian": b"\xce\xfa\xed\xfe\x07\x00\x00\x00",
    "Mach-O 64, little endian": b"\xcf\xfa\xed\xfe\x07\x00\x00\x01",
    "Mach-O fat, Java class": b"\xca\xfe\xba\xbe\x00\x00\x00\x02",
    "Mach-O fat, little endian": b"\xbe\xba\xfe\xca\x02\x00\x00\x00",
    "Mach-O fat 64": b"\xca\xfe\xba\xbf\x00\x00\x00\x02",
    "Mach-O fat 64, little endian": b"\xbf\xba\xfe\xca\x02\x00\x00\x00",
    "AppleScript": b"FasdUAS 1.101.10",
    "Windows shortcut": bytes.fromhex("4c0000000114020000000000c000000000000046"),
    "Android": b"dex\n035\x00",
    "WebAssembly": b"\x00asm\x01\x00\x00\x00",
    "script": b"#!/bin/sh\nrm -rf /\n",
    "script behind a byte order mark": b"\xef\xbb\xbf#!/usr/bin/env python3\n",
}
HARMLESS = {
    "empty but for two letters": b"MZ",
    "a text that begins with MZ": b"MZ is the area code of Mainz.\n",
    "a heading": b"# Not a script!\n",
    "a script that is quoted": b" #!/bin/sh\n",
    "PDF": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "an old Word file": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(8),
    "a zip": b"PK\x03\x04\x14\x00",
    "one byte": b"\x7f",
}


@contextlib.asynccontextmanager
async def guarded(backend, *, profile="strict", **settings):
    config = {**ACCEPT_ALL, "plugins": {"refuse_executables": settings}}
    async with connect(
        backend, identity="ada", config=config, plugins=["refuse_executables"], profile=profile
    ) as session:
        yield session, (await session.create_channel()).sid


def named(name, content=b"harmless"):
    return File.from_bytes(content, name=name)


async def attach(session, sid, file):
    await session.actions.invoke("AttachFile", {"file": file, "channelSid": sid})


async def refusal(session, sid, file):
    with pytest.raises(ActionError) as caught:
        await attach(session, sid, file)
    assert caught.value.code == "action_aborted"
    return str(caught.value)


@pytest.mark.parametrize("content", PROGRAMS.values(), ids=PROGRAMS)
async def test_a_program_under_a_harmless_name_is_refused(backend, content):
    async with guarded(backend) as (session, sid):
        await refusal(session, sid, named("invoice.pdf", content + bytes(100)))
        assert session.input(sid).file is None


@pytest.mark.parametrize("content", HARMLESS.values(), ids=HARMLESS)
async def test_a_harmless_file_passes(backend, content):
    async with guarded(backend) as (session, sid):
        await attach(session, sid, named("invoice.doc", content))
        assert session.input(sid).file.name == "invoice.doc"


@pytest.mark.parametrize(
    "name", ["setup.exe", "invoice.pdf.exe", "SETUP.EXE", ".exe", "setup.exe. ", "holiday.jpg.scr"]
)
async def test_a_name_that_ends_like_a_program_is_refused(backend, name):
    async with guarded(backend) as (session, sid):
        await refusal(session, sid, named(name))


@pytest.mark.parametrize("name", ["setup.exe.txt", "exe.txt", "all.js.zip"])
async def test_the_end_of_the_name_counts_not_its_middle(backend, name):
    async with guarded(backend) as (session, sid):
        await attach(session, sid, named(name))


async def test_the_refusal_says_what_was_found_and_by_whom(backend):
    async with guarded(backend) as (session, sid):
        text = await refusal(session, sid, named("invoice.pdf", PROGRAMS["PE"]))
    assert text == (
        "AttachFile was aborted by refuse_executables: setup.refuse_executables: "
        "the content of 'invoice.pdf' is a Windows program"
    )


async def test_sending_directly_is_guarded_as_attaching_is(backend):
    async with guarded(backend) as (session, sid):
        with pytest.raises(ActionError, match="a Linux program"):
            await session.actions.invoke(
                "SendMediaMessage", {"file": named("a.pdf", PROGRAMS["ELF"]), "channelSid": sid}
            )
        assert await session.messages(sid) == []


async def test_what_a_before_hook_puts_in_is_guarded_too(backend):
    async with guarded(backend) as (session, sid):

        @session.actions.before("AttachFile")
        def exchange(payload):
            payload.file = named("a.pdf", PROGRAMS["ELF"])

        await refusal(session, sid, named("a.txt"))


async def test_nothing_attached_is_left_to_the_action(backend):
    async with guarded(backend) as (session, sid):
        with pytest.raises(ActionError) as caught:
            await session.actions.invoke("SendMediaMessage", {"channelSid": sid})
        assert caught.value.code == "nothing_attached"


async def test_a_stream_in_single_bytes_is_recognised_and_not_read_to_its_end(backend):
    read = []

    async def drip():
        for i in range(100_000):
            read.append(i)
            yield PROGRAMS["ELF"][i : i + 1] or b"\0"

    async with guarded(backend) as (session, sid):
        await refusal(session, sid, File.from_stream(drip, name="a.pdf", size_bytes=100_000))
        assert len(read) < 1000


async def test_a_file_that_cannot_be_read_is_refused(backend, tmp_path):
    """A guard fails closed."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"here")
    file = File.from_path(path)
    path.unlink()
    async with guarded(backend) as (session, sid):
        with pytest.raises(ActionError) as caught:
            await attach(session, sid, file)
        assert (caught.value.code, session.input(sid).file) == ("hook_failed", None)


@pytest.mark.parametrize("profile", ["flex1", "flex2"])
async def test_it_guards_in_the_flex_profiles_too(backend, profile):
    async with guarded(backend, profile=profile) as (session, sid):
        await refusal(session, sid, named("invoice.pdf", PROGRAMS["PE"]))


async def test_extra_extensions_are_refused_besides(backend):
    async with guarded(backend, extraExtensions=[".DOCM", "tar.gz"]) as (session, sid):
        await refusal(session, sid, named("letter.docm"))
        await refusal(session, sid, named("all.tar.gz"))
        await refusal(session, sid, named("setup.exe"))


async def test_extensions_take_the_place_of_the_list(backend):
    async with guarded(backend, extensions=[]) as (session, sid):
        await attach(session, sid, named("page.js"))
        await refusal(session, sid, named("setup.exe", PROGRAMS["PE"]))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"extraExtension": ["docm"]}, "Did you mean 'extra_extensions'?"),
        ({"extraExtensions": "docm"}, "extensions are a list"),
        ({"extraExtensions": [""]}, "extensions are words"),
    ],
)
async def test_a_wrong_setting_is_refused_when_the_session_opens(backend, settings, says):
    with pytest.raises(ActionError, match=says) as caught:
        async with guarded(backend, **settings):
            pass
    assert caught.value.code == "invalid_config"


async def test_unloading_it_takes_both_guards_away(backend):
    async with guarded(backend) as (session, sid):
        await session.plugins.unload("refuse_executables")
        assert session.actions.hooks_of("AttachFile") == session.actions.hooks_of("SendMediaMessage") == []
        await attach(session, sid, named("setup.exe"))
