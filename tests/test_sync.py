"""`connect_sync`: the same session for scripts without asyncio."""

import asyncio
import io
import itertools
import signal
import threading

import pytest

from flex_actions import ActionError, File, InputView, RegistrationError, connect_sync
from flex_actions.backends.memory import MemoryBackend

PDF = File.from_bytes(b"%PDF", name="a.pdf")


@pytest.fixture
def chat():
    with connect_sync("memory:", identity="ada") as session:
        yield session


@pytest.fixture
def channel(chat):
    return chat.create_channel("support", members=["cleo"])


def ours():
    return [t for t in threading.enumerate() if t.name == "flex_actions"]


def test_a_script_sends_and_downloads(chat, channel, tmp_path):
    sent = chat.invoke("SendMediaMessage", {"file": PDF, "channel": channel})
    assert chat.download(sent.message_sid, tmp_path) == tmp_path / "a.pdf"
    assert (tmp_path / "a.pdf").read_bytes() == b"%PDF"


def test_a_script_has_the_message_input(chat, channel):
    chat.invoke("AttachFile", {"file": PDF, "channel": channel})
    view = chat.input(channel)
    assert (isinstance(view, InputView), view.file) == (True, PDF)


def test_a_script_has_channels_and_members(chat, channel):
    assert chat.channel("support") == channel
    assert chat.channels() == [channel]
    assert chat.add_member(channel, "bob").identity == "bob"
    chat.remove_member(channel, "cleo")
    assert [m.identity for m in chat.members(channel)] == ["ada", "bob"]
    chat.leave(channel)
    chat.join(channel)
    assert chat.close_channel(channel).state == "closed"


def test_a_script_repeats_with_a_key(chat, channel):
    payload = {"body": "hi", "channel": channel}
    assert [chat.invoke("SendMessage", payload, key="k").repeated for _ in range(2)] == [False, True]
    assert [m.body for m in chat.messages(channel)] == ["hi"]


def test_a_script_downloads_into_a_file_object(chat, channel):
    sent = chat.invoke("SendMediaMessage", {"file": PDF, "channel": channel})
    target = io.BytesIO()
    assert chat.download(sent.message_sid, target) is None
    assert target.getvalue() == b"%PDF"


def test_a_script_follows_from_a_cursor(chat, channel):
    cursor = chat.cursor(channel)
    for body in "abc":
        chat.invoke("SendMessage", {"body": body, "channel": channel})
    events = itertools.islice(chat.follow(channel, after=cursor), 3)
    assert [e.message.body for e in events] == ["a", "b", "c"]


def test_a_feed_that_is_left_is_closed(chat, channel):
    for _ in chat.follow(channel):
        break
    assert chat.session.backend._feed.idle


def test_a_feed_that_is_left_lying_does_no_harm():
    with connect_sync("memory:", identity="ada") as chat:
        events = chat.follow(chat.create_channel())
        next(events)
    events.close()


def test_hooks_run_on_the_background_thread(chat, channel):
    threads = []
    chat.session.actions.before("SendMessage", lambda payload: threads.append(threading.current_thread().name))
    chat.invoke("SendMessage", {"body": "hi", "channel": channel})
    assert threads == ["flex_actions"]


def test_errors_come_out_as_they_are(chat, channel, refused):
    with refused("invalid_type"):
        chat.invoke("SendMediaMessage", {"file": File.from_bytes(b"MZ", name="a.exe"), "channel": channel})
    with refused("unknown_channel"):
        chat.messages("nowhere")


def test_a_failed_hook_refuses_here_too(chat, channel, refused):
    def boom(payload):
        raise ValueError("oops")

    chat.session.actions.before("SendMessage", boom)
    with refused("hook_failed") as caught:
        chat.invoke("SendMessage", {"body": "hi", "channel": channel})
    assert isinstance(caught.value.__cause__, ValueError)


async def test_inside_a_running_loop_it_is_refused_with_the_way_out(refused):
    with refused("inside_event_loop") as caught, connect_sync("memory:", identity="ada"):
        pass
    assert "async with connect" in caught.value.hint
    assert ours() == []


def test_a_call_inside_a_hook_would_wait_for_itself_and_is_refused(chat, channel, refused):
    def waits_for_itself(payload):
        chat.invoke("SendMessage", {"body": "inner", "channel": channel})

    chat.session.actions.before("SendMediaMessage", waits_for_itself)
    with refused("hook_failed") as caught:
        chat.invoke("SendMediaMessage", {"file": PDF, "channel": channel})
    assert caught.value.__cause__.code == "inside_event_loop"


def test_several_threads_may_call(chat, channel):
    def say(body):
        chat.invoke("SendMessage", {"body": body, "channel": channel})

    threads = [threading.Thread(target=say, args=(str(i),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(m.body for m in chat.messages(channel)) == list("01234567")


def test_ctrl_c_ends_the_call_and_the_work_behind_it():
    ended = []

    async def waits(payload):
        try:
            # A real signal, as the terminal sends it: only that wakes a thread which waits.
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    with connect_sync("memory:", identity="ada") as chat:
        channel = chat.create_channel()
        chat.session.actions.before("SendMessage", waits, timeout_s=None)
        with pytest.raises(KeyboardInterrupt):
            chat.invoke("SendMessage", {"body": "hi", "channel": channel})
        assert chat.messages(channel) == []
        assert chat.session.actions.find_pending() == []
    assert ended == [True]


def test_the_thread_ends_with_the_session(refused):
    with connect_sync("memory:", identity="ada") as chat:
        assert len(ours()) == 1
    assert ours() == []
    with refused("session_closed"):
        chat.channels()


def test_the_thread_ends_after_an_error_too():
    with pytest.raises(ZeroDivisionError), connect_sync("memory:", identity="ada"):
        raise ZeroDivisionError
    assert ours() == []


@pytest.mark.parametrize(
    "options", [{"identity": ""}, {"identity": "ada", "role": "boss"}, {"identity": "ada", "config": 5}]
)
def test_a_session_that_does_not_begin_leaves_no_thread(options, refused):
    with refused("invalid_config"), connect_sync("memory:", **options):
        pass
    assert ours() == []


def test_a_misspelt_option_leaves_no_thread():
    with pytest.raises(TypeError), connect_sync("memory:", identety="ada"):
        pass
    assert ours() == []


def test_plugins_are_closed_with_the_session():
    log = []

    async def plugin(plugin):
        log.append("in")
        yield
        log.append("out")

    with connect_sync("memory:", identity="ada", plugins=[plugin]):
        assert log == ["in"]
    assert log == ["in", "out"]


def test_a_plugin_that_fails_refuses_the_session():
    def plugin(plugin):
        raise ValueError("oops")

    with pytest.raises(RegistrationError, match="oops"), connect_sync("memory:", identity="ada", plugins=[plugin]):
        pass
    assert ours() == []


def test_an_open_backend_belongs_to_a_loop_and_is_refused(refused):
    with refused("invalid_config"), connect_sync(MemoryBackend(), identity="ada"):
        pass


def test_a_store_on_disk_is_kept(tmp_path):
    url = f"local:{tmp_path}"
    with connect_sync(url, identity="ada") as chat:
        channel = chat.create_channel("here")
        chat.invoke("SendMediaMessage", {"file": PDF, "channel": channel})
    with connect_sync(url, identity="ada") as chat:
        assert [m.media.name for m in chat.messages("here")] == ["a.pdf"]


def test_two_scripts_in_one_process_talk_to_each_other():
    with (
        connect_sync("memory:sync-test", identity="ada") as ada,
        connect_sync("memory:sync-test", identity="bob") as bob,
    ):
        channel = ada.create_channel(members=["bob"])
        ada.invoke("SendMessage", {"body": "hi", "channel": channel})
        assert [m.body for m in bob.messages(channel.sid)] == ["hi"]


def test_a_timeout_of_the_caller_holds(chat, channel):
    async def waits(payload):
        await asyncio.Event().wait()

    chat.session.actions.before("SendMessage", waits, timeout_s=None)
    with pytest.raises(ActionError) as caught:
        chat.invoke("SendMessage", {"body": "hi", "channel": channel}, timeout_s=0.01)
    assert caught.value.code == "action_timeout"


def test_after_ctrl_c_the_work_has_ended_when_control_returns():
    ended = []

    async def lingers(payload):
        try:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            for _ in range(1000):
                await asyncio.sleep(0)
            ended.append(True)

    with connect_sync("memory:", identity="ada") as chat:
        chat.session.actions.register("Linger", lingers)
        with pytest.raises(KeyboardInterrupt):
            chat.invoke("Linger")
        assert ended == [True]
