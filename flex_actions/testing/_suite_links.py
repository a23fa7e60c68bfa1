"""Temporary links."""

from ..clock import ManualClock
from ..errors import ActionError
from ..ports import LINK_LIFE_LIMIT_S, LINK_LIFE_S, Backend, Channel
from ._suite_channels import AWKWARD
from ._suite_tools import chat, check, expect, expect_true, media_of, read, refused, send


async def _opened(backend: Backend, url: str) -> bytes:
    _, content = await backend.open_link(url)
    return await read(content)


@check
async def a_link_opens_for_five_minutes(backend: Backend, clock: ManualClock) -> None:
    """A link opens until 5 minutes have passed and is link_expired from exactly then on; a new one opens again."""
    channel = await chat(backend, "bob")
    media = media_of(await send(backend, channel))
    link = await backend.temporary_link(media.sid, reader="bob")
    expect(link.expires_at, clock.now() + 300, "expires_at")
    facts = (link.name, link.content_type, link.size_bytes, link.sha256)
    expect(facts, (media.name, media.content_type, media.size_bytes, media.sha256), "what the link says")
    found, content = await backend.open_link(link.url)
    expect((found, await read(content)), (media, b"hello"), "media and content")
    clock.advance(LINK_LIFE_S - 0.001)
    expect(await _opened(backend, link.url), b"hello", "content, a moment before")
    clock.advance(0.001)
    expect(clock.now() >= link.expires_at, True, "the moment has come")
    for _ in range(2):
        async with refused("link_expired"):
            await _opened(backend, link.url)
        clock.advance(1)
    again = await backend.temporary_link(media.sid, reader="bob")
    expect(await _opened(backend, again.url), b"hello", "content, by a new link")


@check
async def a_link_lives_as_long_as_asked(backend: Backend, clock: ManualClock) -> None:
    """ttl_s sets the life; one that is not a number above 0 and at most a week raises invalid_payload."""
    channel = await chat(backend)
    media = media_of(await send(backend, channel))
    link = await backend.temporary_link(media.sid, reader="ada", ttl_s=10)
    expect(link.expires_at, clock.now() + 10, "expires_at")
    clock.advance(10)
    async with refused("link_expired"):
        await _opened(backend, link.url)
    longest = await backend.temporary_link(media.sid, reader="ada", ttl_s=LINK_LIFE_LIMIT_S)
    clock.advance(LINK_LIFE_LIMIT_S - 0.001)
    expect(await _opened(backend, longest.url), b"hello", "content, at the end of a week")
    for bad in (0.0, -1.0, LINK_LIFE_LIMIT_S + 1, float("nan"), float("inf")):
        async with refused("invalid_payload"):
            await backend.temporary_link(media.sid, reader="ada", ttl_s=bad)


@check
async def an_altered_link_is_invalid(backend: Backend, clock: ManualClock) -> None:
    """A link with any character changed, left out or added is link_invalid, also after its expiry."""
    channel = await chat(backend)
    media = media_of(await send(backend, channel))
    url = (await backend.temporary_link(media.sid, reader="ada")).url
    for _ in range(2):
        for position, character in enumerate(url):
            swap = "1" if character == "0" else "0"
            for altered in (
                url[:position] + swap + url[position + 1 :],
                url[:position] + character.swapcase() + url[position + 1 :],
                url[:position] + url[position + 1 :],
                url[:position] + "A" + url[position:],
            ):
                if altered != url:
                    async with refused("link_invalid"):
                        await _opened(backend, altered)
        for garbage in ("", "x", url + "=", url + " ", url * 2, "é" + url, url + "\0", "A" * 100_000, url.upper()):
            async with refused("link_invalid"):
                await _opened(backend, garbage)
        clock.advance(LINK_LIFE_S)


@check
async def a_link_dies_with_its_media(backend: Backend, clock: ManualClock) -> None:
    """After the message was deleted its links are media_deleted."""
    channel = await chat(backend)
    message = await send(backend, channel)
    link = await backend.temporary_link(media_of(message).sid, reader="ada")
    await backend.delete_message(channel, message.sid)
    async with refused("media_deleted"):
        await _opened(backend, link.url)


@check
async def a_link_dies_with_its_membership(backend: Backend, clock: ManualClock) -> None:
    """After its reader left, a link is not_a_member, and stays so when the reader comes back; a new one opens."""
    channel = await chat(backend, "bob")
    media = media_of(await send(backend, channel))
    link = await backend.temporary_link(media.sid, reader="bob")
    await backend.remove_member(channel, "bob")
    async with refused("not_a_member"):
        await _opened(backend, link.url)
    async with refused("not_a_member"):
        await backend.temporary_link(media.sid, reader="bob")
    await backend.add_member(channel, "bob")
    async with refused("not_a_member"):
        await _opened(backend, link.url)
    expect(await _opened(backend, (await backend.temporary_link(media.sid, reader="bob")).url), b"hello", "content")


@check
async def a_supervisor_needs_no_membership(backend: Backend, clock: ManualClock) -> None:
    """With members_only=False a link is given to, and opens for, somebody who never joined."""
    channel = await chat(backend)
    media = media_of(await send(backend, channel))
    async with refused("not_a_member"):
        await backend.temporary_link(media.sid, reader="sue")
    link = await backend.temporary_link(media.sid, reader="sue", members_only=False)
    expect(await _opened(backend, link.url), b"hello", "content")


@check
async def a_link_may_be_held_to_its_reader(backend: Backend, clock: ManualClock) -> None:
    """With `reader` a link opens for that identity alone; `judge` sees the channel and may refuse."""
    channel = await chat(backend, "bob")
    media = media_of(await send(backend, channel))
    link = await backend.temporary_link(media.sid, reader="bob")
    async with refused("not_authorized"):
        await backend.open_link(link.url, reader="ada")
    judged: list[str] = []

    def no(_: Channel) -> None:
        raise ActionError("attachments_disabled", "no")

    found, content = await backend.open_link(link.url, reader="bob", judge=lambda where: judged.append(where.sid))
    expect((found, await read(content), judged), (media, b"hello", [channel]), "what the link leads to")
    async with refused("attachments_disabled"):
        await backend.open_link(link.url, judge=no)
    expect(await _opened(backend, link.url), b"hello", "content, for whoever has it")


@check
async def readers_may_have_any_name(backend: Backend, clock: ManualClock) -> None:
    """Links work for identities of any Unicode, and differ between readers."""
    channel = await chat(backend, *AWKWARD)
    media = media_of(await send(backend, channel))
    urls = [(await backend.temporary_link(media.sid, reader=reader)).url for reader in AWKWARD]
    for url in urls:
        expect(await _opened(backend, url), b"hello", "content")
        expect_true(url.isascii() and url.isprintable() and " " not in url, "the url is plain")
    expect(len(set(urls)), len(AWKWARD), "different links")


@check
async def links_outlive_the_channel(backend: Backend, clock: ManualClock) -> None:
    """Files of a closed channel can still be read by its members."""
    channel = await chat(backend)
    media = media_of(await send(backend, channel))
    await backend.close_channel(channel)
    link = await backend.temporary_link(media.sid, reader="ada")
    expect(await _opened(backend, link.url), b"hello", "content")
