"""Hostile values through the actions, the session and the backend of a chat on disk.

Whatever is given: it succeeds and is found again as it was given, or it is refused with one clear error and nothing
has changed: no row, no file, no input.
"""

# ruff: noqa: RUF005 - long lists read better in rows

import asyncio
import io
import json
import os
import pathlib
import shutil
import tempfile

import pytest
from hostile import (
    altered,
    attributes,
    characters,
    content_types,
    cursors,
    identities,
    junk,
    names,
    search,
    sids,
    sizes,
    stems,
    texts,
)
from hypothesis import given
from hypothesis import strategies as st
from scene import Scene, check_paths, paths_in

from flex_actions import ActionError, File
from flex_actions.attachments import Sent
from flex_actions.clock import ManualClock
from flex_actions.files import clean_name
from flex_actions.payloads import PAYLOADS
from flex_actions.ports import Draft, Key, Link


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    found = Scene(tmp_path_factory.mktemp("chat"), clock=ManualClock())
    found.run(found.begin())
    yield found
    found.end()


async def emptied(scene):
    """Leave nothing of an example for the next one."""
    for session in (scene.ada, scene.cleo):
        held = session.input(scene.channel)
        if held.file is not None:
            await session.actions.invoke("DetachFile", {"channelSid": scene.channel})
        elif held.text is not None:
            await session.actions.invoke("SetInputText", {"channelSid": scene.channel, "body": ""})
    for message in await scene.ada.messages(scene.channel):
        await scene.backend.delete_message(scene.channel, message.sid)


async def content_of(backend, sid):
    return b"".join([chunk async for chunk in backend.open_media(sid)])


def stream_of(data, **described):
    async def pieces():
        yield data

    return File.from_stream(pieces, **described)


# -- actions --

ACTIONS = sorted(PAYLOADS)
keys = st.sampled_from(
    ["file", "body", "message", "channelSid", "channel_sid", "channel", "conversationSid", "messageAttributes"]
    + ["message_attributes", "entered", "action", "ChannelSid", "channelsid", "__class__"]
)


@search(200)
@given(
    st.sampled_from(ACTIONS) | texts | junk,
    st.dictionaries(keys | texts, sids | texts | attributes | junk, max_size=4) | junk,
    st.booleans(),
    st.none() | texts | junk,
    st.none() | junk | st.integers(1, 9),
)
def test_any_payload_is_taken_or_refused(scene, action, payload, here, key, timeout_s):  # noqa: PLR0917
    async def invoke():
        given = {**payload, "channelSid": scene.channel} if here and isinstance(payload, dict) else payload
        await scene.outcome(lambda: scene.ada.actions.invoke(action, given, key=key, timeout_s=timeout_s))
        assert scene.ada.actions.find_pending() == []
        await emptied(scene)

    scene.run(invoke())


@search(120)
@given(names | texts, content_types, st.binary(max_size=30), sizes, attributes, st.booleans())
def test_a_file_of_any_name_type_and_size_arrives_or_is_refused(scene, name, kind, data, size, facts, lies):  # noqa: PLR0917
    async def send():
        try:
            described = {"name": name, "content_type": kind, "size_bytes": size if lies else len(data)}
            file = stream_of(data, **described)
        except ActionError:
            return
        payload = {"file": file, "channelSid": scene.channel, "messageAttributes": facts}
        sent = await scene.outcome(lambda: scene.ada.actions.invoke("SendMediaMessage", payload))
        check_paths(scene.folder)
        if isinstance(sent, Sent):
            [message] = await scene.cleo.messages(scene.channel)
            media = message.media
            assert (media.name, media.content_type, media.size_bytes) == (
                clean_name(name),
                file.content_type,
                len(data),
            )
            assert await content_of(scene.backend, media.sid) == data
            assert message.attributes == json.loads(json.dumps(facts or {}))
            assert [media.sid] == [p[-34:] for p in paths_in(scene.folder / "media") if "ME" in p]
        await emptied(scene)

    scene.run(send())


@search(100)
@given(texts | junk, attributes, st.none() | st.text(characters, max_size=300))
def test_a_text_arrives_as_it_is_or_not_at_all(scene, body, facts, key):
    async def send():
        payload = {"body": body, "channelSid": scene.channel, "messageAttributes": facts}
        sent = await scene.outcome(lambda: scene.ada.actions.invoke("SendMessage", payload, key=key))
        if isinstance(sent, Sent) and not sent.repeated:
            [message] = await scene.cleo.messages(scene.channel)
            assert (message.body, message.attributes) == (body, json.loads(json.dumps(facts or {})))
        await emptied(scene)

    scene.run(send())


@search(80)
@given(names, st.binary(min_size=1, max_size=30))
def test_a_download_into_a_folder_makes_one_file_of_the_clean_name_there(scene, name, data):
    async def download():
        channel = (await scene.ada.create_channel(members=["cleo"])).sid
        file = File.from_bytes(data, name=name)
        media = await scene.backend.upload(channel, file, author="ada")
        message = (await scene.backend.post(channel, Draft("ada", media=media))).message
        target = pathlib.Path(tempfile.mkdtemp(dir=scene.parent / "beside"))
        path = await scene.cleo.download(message, target)
        assert path == target / clean_name(name)
        assert (paths_in(target), path.read_bytes()) == ([clean_name(name)], data)
        with pytest.raises(ActionError) as caught:
            await scene.cleo.download(message, target)
        assert caught.value.code == "file_unwritable"  # a name that the sender chose overwrites nothing
        shutil.rmtree(target)
        await scene.backend.delete_message(channel, message.sid)
        check_paths(scene.folder)

    scene.run(download())


# -- the session and the backend --


async def first_of(events):
    """The first event, if there is one already."""
    step = asyncio.ensure_future(anext(events))
    for _ in range(20):
        await asyncio.sleep(0)
    step.cancel()
    try:
        return await step
    except asyncio.CancelledError:
        return None
    finally:
        await events.aclose()


numbers = st.integers(-3, 9) | junk
MEDIA = "ME" + "0" * 32


async def first_chunk(chunks):
    return await anext(chunks, None)


CALLS = {
    "create_channel": (
        lambda s, *a: s.ada.create_channel(a[0], channel_type=a[1], members=a[2]),
        texts | junk,
        texts | junk | st.just("web"),
        st.lists(identities, max_size=2) | junk,
    ),
    "channel": (lambda s, c: s.ada.channel(c), sids),
    "join": (lambda s, c: s.cleo.join(c), sids),
    "leave": (lambda s, c: s.cleo.leave(c), sids),
    "add_member": (lambda s, c, i: s.ada.add_member(c or s.channel, i), sids, identities | junk),
    "remove_member": (
        lambda s, i: s.ada.remove_member(s.channel, i),
        identities.filter(lambda i: i not in ("ada", "cleo")) | junk,
    ),
    "members": (lambda s, c: s.ada.members(c), sids),
    "close_channel": (lambda s, c: s.ada.close_channel(c), sids),
    "messages": (lambda s, a, n: s.ada.messages(s.channel, after_index=a, limit=n), numbers, numbers),
    "cursor": (lambda s, c: s.ada.cursor(c), sids),
    "follow": (lambda s, a: first_of(s.ada.follow(s.channel, after=a)), cursors),
    "events": (lambda s, c, a: first_of(s.backend.events(c, after=a)), sids, cursors),
    "download": (lambda s, m, t: s.ada.download(m, t), sids, st.builds(io.BytesIO) | junk),
    "download of a link": (lambda s, m: s.ada.download(f"flex-media:{m}", io.BytesIO()), texts),
    "get_channel": (lambda s, c, m: s.backend.get_channel(c, member=m), sids, identities | junk),
    "list_channels": (lambda s, m: s.backend.list_channels(member=m), identities | junk),
    "get_message": (lambda s, m: s.backend.get_message(s.channel, m), sids),
    "find_message": (lambda s, m: s.backend.find_message(m), sids),
    "delete_message": (lambda s, m: s.backend.delete_message(s.channel, m), sids),
    "open_media": (lambda s, m: first_chunk(s.backend.open_media(m)), sids),
    "a range": (lambda s, o, n: first_chunk(s.backend.open_media(MEDIA, offset=o, length=n)), numbers, numbers),
    "temporary_link": (
        lambda s, m, r, t, d: s.backend.temporary_link(m, reader=r, ttl_s=t, disposition=d),
        *(sids, identities | junk, numbers, st.sampled_from(["inline", "attachment"]) | texts | junk),
    ),
    "open_link": (lambda s, u, r: s.backend.open_link(u, reader=r), sids, identities | junk),
    "settle": (lambda s, k: s.backend.settle(k), texts),
    "save_public_url": (lambda s, u: s.backend.save_public_url(u), (texts | junk).filter(lambda u: u is not None)),
    "lease_address": (lambda s, u: s.backend.lease_address(u, life_s=5), texts | junk),
    "end_lease": (lambda s, u: s.backend.end_lease(u), texts),
}


@pytest.mark.parametrize("name", CALLS)
@search(25)
@given(data=st.data())
def test_any_argument_is_taken_or_refused(scene, name, data):
    call, *strategies = CALLS[name]
    arguments = [data.draw(strategy) for strategy in strategies]
    scene.run(scene.outcome(lambda: call(scene, *arguments)))
    check_paths(scene.folder)


storable = texts.filter(lambda text: not any("\ud800" <= c <= "\udfff" for c in text))


@search(60)
@given(texts, storable, storable)
def test_a_key_of_any_characters_sends_once_and_only_its_own(scene, key, one, other):
    async def send():
        channel = (await scene.ada.create_channel()).sid
        fresh = f"{key} in {channel}"  # no earlier example has used it
        first = await scene.backend.post(channel, Draft("ada", body=one), key=Key(fresh, "one"))
        again = await scene.backend.post(channel, Draft("ada", body=one), key=Key(fresh, "one"))
        with pytest.raises(ActionError) as caught:
            await scene.backend.post(channel, Draft("ada", body=other), key=Key(fresh, "other"))
        assert (again.message, again.repeated, caught.value.code) == (first.message, True, "key_reused")
        await scene.backend.post(channel, Draft("ada", body=other), key=Key(fresh + " ", "other"))
        assert [m.body for m in await scene.backend.list_messages(channel)] == [one, other]

    scene.run(send())


# -- links --


@pytest.fixture(scope="module")
def two(scene):
    """Two files with a link each: contents by the token that leads to them."""

    async def post():
        found = {}
        channel = (await scene.ada.create_channel(members=["cleo"])).sid
        for reader, data in (("ada", b"for ada"), ("cleo", b"for cleo")):
            media = await scene.backend.upload(channel, File.from_bytes(data, name="a.pdf"), author="ada")
            await scene.backend.post(channel, Draft("ada", media=media))
            link = await scene.backend.temporary_link(media.sid, reader=reader)
            found[link.url.removeprefix("flex-media:")] = (reader, data)
        return found

    return scene.run(post())


@search(150)
@given(
    st.data(), st.sampled_from(["flex-media:{}", "https://x/media/{}", "http://x/y/media/{}", "{}", "flex-media://{}"])
)
def test_a_link_opens_its_own_file_for_its_own_reader_and_no_other_does(scene, two, data, form):
    one, other = data.draw(st.permutations(list(two)))
    token = data.draw(st.just(one) | altered(one, other))
    url = form.format(token)

    async def download():
        for session in (scene.ada, scene.cleo):
            target = io.BytesIO()
            found = await scene.outcome(lambda: session.download(url, target))  # noqa: B023
            reader, content = two.get(token, (None, None))
            if reader == session.identity and form not in ("{}", "flex-media://{}"):
                assert (found, target.getvalue()) == (None, content)
            else:
                assert isinstance(found, ActionError)
                assert found.code in ("link_invalid", "not_authorized", "unknown_message", "invalid_payload")
                assert target.getvalue() == b""
                assert len(token) < 40 or token not in str(found)

    scene.run(download())


@search(40)
@given(identities)
def test_whoever_can_be_a_member_can_have_a_link(scene, identity):
    async def ask():
        channel = (await scene.ada.create_channel()).sid
        media = await scene.backend.upload(channel, File.from_bytes(b"x", name="a.pdf"), author="ada")
        message = (await scene.backend.post(channel, Draft("ada", media=media))).message
        member = await scene.outcome(lambda: scene.ada.add_member(channel, identity))
        if not isinstance(member, ActionError):
            link = await scene.backend.temporary_link(media.sid, reader=identity)
            assert isinstance(link, Link)
            assert (await scene.backend.open_link(link.url, reader=identity))[0] == media
        await scene.backend.delete_message(channel, message.sid)

    scene.run(ask())


# -- who may read it --


@search(20)
@given(st.sampled_from([0o000, 0o002, 0o022, 0o027, 0o077]), stems)
def test_everything_is_its_owners_alone_whatever_the_umask(tmp_path_factory, umask, name):

    parent = tmp_path_factory.mktemp("umask")
    before = os.umask(umask)
    try:
        scene = Scene(parent)
        scene.run(scene.begin())
        payload = {"file": File.from_bytes(b"x", name=f"{name}x.pdf"), "channelSid": scene.channel}
        scene.run(scene.ada.actions.invoke("SendMediaMessage", payload))
        scene.look()
        scene.end()
    finally:
        os.umask(before)
    check_paths(parent / "chat")
