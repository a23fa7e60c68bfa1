"""The message input: its table cell by cell, sends and their order, and a machine against an independent model."""

import asyncio
import contextlib
from collections import deque

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flex_actions import ActionError, File, InputState, connect, signals
from flex_actions.backends.memory import MemoryBackend
from flex_actions.message_input import EMPTY, describe, step

MINE = File.from_bytes(b"1", name="mine.pdf")
EQUAL = File.from_bytes(b"2", name="mine.pdf")  # equal as Flex means it: name, size and type
OTHER = File.from_bytes(b"3", name="other.pdf")
TEXT = InputState("TEXT", text="draft")
FILE = InputState("FILE", file=MINE)
KINDS = {"EMPTY": EMPTY, "TEXT": TEXT, "FILE": FILE}


def text(body):
    return InputState("TEXT", text=body)


def holding(file):
    return InputState("FILE", file=file)


# The table as it was designed: event, argument, then what follows from EMPTY, TEXT and FILE: a state or a refusal.
AT_ONCE = [
    ("SetInputText", "x", text("x"), text("x"), "input_holds_file"),
    ("SetInputText", "", EMPTY, EMPTY, FILE),
    ("AttachFile", OTHER, holding(OTHER), holding(OTHER), "one_file_at_a_time"),
    ("AttachFile", MINE, FILE, FILE, "one_file_at_a_time"),
    ("DetachFile", None, "nothing_attached", "nothing_attached", EMPTY),
    ("DetachFile", MINE, "nothing_attached", "nothing_attached", EMPTY),
    ("DetachFile", EQUAL, "nothing_attached", "nothing_attached", EMPTY),
    ("DetachFile", OTHER, "nothing_attached", "nothing_attached", "file_not_attached"),
]


@pytest.mark.parametrize(
    ("event", "argument", "kind", "expected"),
    [(e, a, kind, cell) for e, a, *cells in AT_ONCE for kind, cell in zip(KINDS, cells, strict=True)],
)
def test_a_cell_that_changes_the_input_at_once(event, argument, kind, expected, refused):
    if isinstance(expected, InputState):
        assert step(KINDS[kind], event, argument) == expected
        return
    with refused(expected):
        step(KINDS[kind], event, argument)


# For sends: what is sent, then the state after success and after failure; or a refusal.
SENDS = [
    ("SendMessage", "hi", "EMPTY", ("hi", EMPTY, EMPTY)),
    ("SendMessage", "hi", "TEXT", ("hi", EMPTY, TEXT)),
    ("SendMessage", "hi", "FILE", ("hi", FILE, FILE)),
    ("SendMessage", None, "EMPTY", "nothing_to_send"),
    ("SendMessage", None, "TEXT", ("draft", EMPTY, TEXT)),
    ("SendMessage", None, "FILE", "nothing_to_send"),
    ("SendMessage", "", "EMPTY", "nothing_to_send"),
    ("SendMessage", "", "FILE", "nothing_to_send"),
    ("SendMediaMessage", OTHER, "EMPTY", (OTHER, EMPTY, EMPTY)),
    ("SendMediaMessage", OTHER, "TEXT", (OTHER, TEXT, TEXT)),
    ("SendMediaMessage", OTHER, "FILE", (OTHER, FILE, FILE)),
    ("SendMediaMessage", MINE, "FILE", (MINE, EMPTY, FILE)),
    ("SendMediaMessage", EQUAL, "FILE", (MINE, EMPTY, FILE)),
    ("SendMediaMessage", None, "EMPTY", "nothing_attached"),
    ("SendMediaMessage", None, "TEXT", "nothing_attached"),
    ("SendMediaMessage", None, "FILE", (MINE, EMPTY, FILE)),
]


@pytest.mark.parametrize(("event", "argument", "kind", "expected"), SENDS)
def test_a_cell_that_sends(event, argument, kind, expected, refused):
    if isinstance(expected, str):
        with refused(expected):
            step(KINDS[kind], event, argument)
        return
    sending = step(KINDS[kind], event, argument)
    item, after_success, after_failure = expected
    assert (sending.kind, sending.file or sending.text) == ("SENDING", item)
    assert step(sending, "sent") == after_success
    assert step(sending, "unsent") == after_failure


@pytest.mark.parametrize("back", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(
    ("event", "argument"),
    [("SetInputText", "x"), ("SetInputText", ""), ("AttachFile", OTHER), ("DetachFile", None), ("DetachFile", OTHER)],
)
def test_a_cell_of_an_input_that_is_sending(event, argument, back, refused):
    sending = step(back, "SendMediaMessage", OTHER)
    with refused("input_busy"):
        step(sending, event, argument)


def test_the_table_is_printed_for_the_docs():
    table = describe().splitlines()
    assert table[0] == "| event | EMPTY | TEXT | FILE | SENDING |"
    assert {row.split("|")[1].strip() for row in table[2:]} >= {event for event, *_ in AT_ONCE + SENDS}


# In a session


def held(name="slow.pdf", fails=None):
    """A file of one byte that is read only once its gate opens, and the events `reading` and `gate`."""
    reading, gate = asyncio.Event(), asyncio.Event()

    async def pieces():
        reading.set()
        await gate.wait()
        if fails is not None:
            raise fails
        yield b"x"

    return File.from_stream(pieces, name=name, size_bytes=1), reading, gate


def media(session, channel, file=None, **more):
    return session.actions.invoke("SendMediaMessage", {"file": file, "channelSid": channel, **more})


def say(session, channel, body=None, **more):
    return session.actions.invoke("SendMessage", {"body": body, "channelSid": channel, **more})


def enter(session, channel, body):
    return session.actions.invoke("SetInputText", {"body": body, "channelSid": channel})


def attach(session, channel, file=MINE):
    return session.actions.invoke("AttachFile", {"file": file, "channelSid": channel})


async def sent(session, channel):
    return [m.body or m.media.name for m in await session.messages(channel)]


@pytest.mark.parametrize("kind", ["EMPTY", "TEXT", "FILE"])
async def test_a_file_that_is_refused_changes_nothing_in_any_state(ada, channel, refused, kind):
    if kind == "TEXT":
        await enter(ada, channel, "draft")
    elif kind == "FILE":
        await attach(ada, channel)
    before = ada.input(channel).state
    with refused("invalid_type"):
        await attach(ada, channel, File.from_bytes(b"MZ", name="a.exe"))
    assert ada.input(channel).state is before


async def test_a_file_that_is_refused_changes_nothing_while_sending(ada, channel, refused):
    file, reading, gate = held()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(media(ada, channel, file))
        await reading.wait()
        with refused("invalid_type"):
            await attach(ada, channel, File.from_bytes(b"MZ", name="a.exe"))
        assert (ada.input(channel).state.kind, ada.input(channel).state.file) == ("SENDING", file)
        gate.set()


async def test_a_failed_send_gives_the_file_back(ada, channel, refused):
    file, _, gate = held(fails=OSError("gone"))
    gate.set()
    await attach(ada, channel, file)
    with refused("file_unreadable"):
        await media(ada, channel)
    assert ada.input(channel).file is file


async def test_a_cancelled_send_gives_the_file_back(ada, channel):
    file, reading, _ = held()
    await attach(ada, channel, file)
    sending = asyncio.create_task(media(ada, channel))
    await reading.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert (ada.input(channel).file, await sent(ada, channel)) == (file, [])


async def test_hooks_see_what_the_input_holds(ada, channel):
    seen = []
    ada.actions.before("SendMessage", lambda payload: seen.append(payload.body))
    ada.actions.before("SendMediaMessage", lambda payload: seen.append(payload.file))
    await enter(ada, channel, "draft")
    await say(ada, channel)
    await attach(ada, channel)
    await media(ada, channel)
    assert seen == ["draft", MINE]


async def test_a_hook_may_change_the_draft_that_is_sent(ada, channel):
    ada.actions.before("SendMessage", lambda payload: setattr(payload, "body", payload.body + "!"))
    await enter(ada, channel, "draft")
    await say(ada, channel)
    assert (await sent(ada, channel), ada.input(channel).state) == (["draft!"], EMPTY)


async def test_what_is_typed_on_while_the_hooks_run_stays(ada, channel):
    @ada.actions.before("SendMessage")
    async def types_on(payload):
        await enter(ada, channel, "draft and more")

    await enter(ada, channel, "draft")
    await say(ada, channel)
    assert (await sent(ada, channel), ada.input(channel).text) == (["draft"], "draft and more")


async def test_a_text_that_is_taken_away_while_the_hooks_run_is_not_sent(ada, channel, refused):
    @ada.actions.before("SendMessage")
    async def clears(payload):
        await enter(ada, channel, "")

    await enter(ada, channel, "draft")
    with refused("nothing_to_send"):
        await say(ada, channel)
    assert await sent(ada, channel) == []


async def test_a_file_that_is_exchanged_while_the_hooks_run_is_not_sent(ada, channel, refused):
    @ada.actions.before("SendMediaMessage")
    async def exchanges(payload):
        await ada.actions.invoke("DetachFile", {"channelSid": channel})
        await attach(ada, channel, OTHER)

    await attach(ada, channel)
    with refused("nothing_attached"):
        await media(ada, channel)
    assert (await sent(ada, channel), ada.input(channel).file) == ([], OTHER)


async def test_one_draft_is_sent_once_however_often_it_is_asked_for(ada, channel):
    await enter(ada, channel, "draft")
    outcomes = await asyncio.gather(
        say(ada, channel), say(ada, channel, messageAttributes={"n": 2}), return_exceptions=True
    )
    assert await sent(ada, channel) == ["draft"]
    assert outcomes[1].code == "nothing_to_send"


async def test_an_attached_file_is_sent_once_however_often_it_is_asked_for(ada, channel):
    await attach(ada, channel)
    outcomes = await asyncio.gather(
        media(ada, channel), media(ada, channel, messageAttributes={"n": 2}), return_exceptions=True
    )
    assert await sent(ada, channel) == ["mine.pdf"]
    assert outcomes[1].code == "nothing_attached"


async def test_a_waiting_send_gets_the_file_that_a_failed_one_gave_back(ada, channel):
    file, reading, gate = held()
    await attach(ada, channel, file)
    first = asyncio.create_task(media(ada, channel))
    await reading.wait()
    second = asyncio.create_task(media(ada, channel, messageAttributes={"n": 2}))
    await asyncio.sleep(0)
    first.cancel()
    gate.set()
    await second
    assert (await sent(ada, channel), ada.input(channel).state) == (["slow.pdf"], EMPTY)


async def test_input_changes_are_signalled(ada, channel, watch):
    seen = watch(signals.input_changed, ada)
    await attach(ada, channel)
    await media(ada, channel)
    assert [(s["before"].kind, s["after"].kind) for s in seen] == [
        ("EMPTY", "FILE"),
        ("FILE", "SENDING"),
        ("SENDING", "EMPTY"),
    ]


# Order


async def test_a_slow_hook_of_the_first_send_lets_no_other_overtake_it(ada, channel):
    go_on = asyncio.Event()

    @ada.actions.before("SendMessage")
    async def slow_for_the_first(payload):
        if payload.body == "first":
            await go_on.wait()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for body in ("first", "second"):
            group.create_task(say(ada, channel, body))
        group.create_task(media(ada, channel, MINE))
        await asyncio.sleep(0)
        assert await sent(ada, channel) == []
        go_on.set()
    assert await sent(ada, channel) == ["first", "second", "mine.pdf"]


async def test_sends_in_other_channels_and_of_other_sessions_do_not_wait(ada, cleo, channel):
    other = (await ada.create_channel()).sid
    file, reading, gate = held()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(media(ada, channel, file))
        await reading.wait()
        await say(ada, other, "elsewhere")
        await say(cleo, channel, "someone else")
        gate.set()
    assert await sent(ada, channel) == ["someone else", "slow.pdf"]


async def test_a_failed_send_lets_the_next_one_go(ada, channel):
    file, reading, gate = held(fails=OSError())
    first = asyncio.create_task(media(ada, channel, file))
    await reading.wait()
    second = asyncio.create_task(say(ada, channel, "second"))
    gate.set()
    await asyncio.wait({first, second}, timeout=5)
    assert (first.exception().code, await sent(ada, channel)) == ("file_unreadable", ["second"])


async def test_a_refused_send_gives_its_place_up(ada, channel, refused):
    ada.actions.before("SendMessage", lambda payload, abort: abort("no") if payload.body == "bad" else None)
    with refused("action_aborted"):
        await say(ada, channel, "bad")
    await say(ada, channel, "good")
    assert await sent(ada, channel) == ["good"]


async def test_a_waiting_send_can_be_cancelled(ada, channel):
    file, reading, gate = held()
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(media(ada, channel, file))
        await reading.wait()
        waiting = group.create_task(say(ada, channel, "never mind"))
        group.create_task(say(ada, channel, "last"))
        await asyncio.sleep(0)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        gate.set()
    assert await sent(ada, channel) == ["slow.pdf", "last"]


async def test_a_send_begun_inside_anothers_before_hook_goes_first(ada, channel):
    @ada.actions.before("SendMediaMessage")
    async def announces(payload):
        await say(ada, channel, f"here comes {payload.file.name}")

    async with asyncio.timeout(5):
        await media(ada, channel, MINE)
    assert await sent(ada, channel) == ["here comes mine.pdf", "mine.pdf"]


async def test_a_send_begun_inside_an_after_hook_goes_last(ada, channel):
    @ada.actions.after("SendMediaMessage")
    async def comments(payload):
        await say(ada, channel, "that was it")

    async with asyncio.timeout(5):
        await media(ada, channel, MINE)
    assert await sent(ada, channel) == ["mine.pdf", "that was it"]


@pytest.mark.parametrize("body", ["while reading", None], ids=["a text of its own", "what is entered"])
async def test_a_send_begun_inside_one_that_is_sending_is_refused(ada, channel, refused, body):
    async def pieces():
        await say(ada, channel, body)
        yield b"x"

    await enter(ada, channel, "draft")
    with refused("input_busy"):
        async with asyncio.timeout(5):
            await media(ada, channel, File.from_stream(pieces, name="a.pdf", size_bytes=1))
    assert (await sent(ada, channel), ada.input(channel).text) == ([], "draft")


async def test_a_replacement_sends_before_and_after_but_not_while_the_original_sends(ada, channel):
    file, reading, gate = held()
    codes = []

    @lambda function: ada.actions.replace("SendMediaMessage", function)
    async def surrounds(payload, original):
        await say(ada, channel, "before")
        sending = asyncio.create_task(original())
        await reading.wait()
        try:
            await say(ada, channel, "while")
        except ActionError as error:
            codes.append(error.code)
        gate.set()
        result = await sending
        await say(ada, channel, "after")
        return result

    async with asyncio.timeout(5):
        await media(ada, channel, file)
    assert (await sent(ada, channel), codes) == (["before", "slow.pdf", "after"], ["input_busy"])


async def test_nothing_is_kept_of_inputs_that_are_empty(ada, channel, refused):
    await enter(ada, channel, "draft")
    await say(ada, channel)
    await attach(ada, channel)
    await ada.actions.invoke("DetachFile", {"channelSid": channel})
    with refused("nothing_to_send"):
        await say(ada, channel)
    with refused("unknown_channel"):
        await media(ada, "CH" + "f" * 32, MINE)
    with refused("nothing_attached"):
        await ada.actions.invoke("DetachFile", {"channelSid": channel})
    assert ada.input(channel).state is EMPTY
    assert ada._chat._slots == {}


# The machine


class GatedBackend(MemoryBackend):
    """A chat whose uploads and posts of text wait until the test lets them go on or fail."""

    def __init__(self):
        super().__init__()
        self.gates = deque()

    async def _gate(self):
        gate = asyncio.get_running_loop().create_future()
        self.gates.append(gate)
        try:
            await gate
        finally:
            self.gates.remove(gate)

    async def upload(self, channel, file, **options):
        await self._gate()
        return await super().upload(channel, file, **options)

    async def post(self, channel, draft, **options):
        if draft.body is not None:
            await self._gate()
        return await super().post(channel, draft, **options)


def small(name):
    async def pieces():
        yield b"x"

    return File.from_stream(pieces, name=name, size_bytes=1)


def name_of(item):
    return item.name if isinstance(item, File) else item


class Send:
    """One send in the model: what was asked for, what the input held at the call, its task."""

    def __init__(self, is_file, item, held, task):
        self.is_file, self.item, self.held, self.task = is_file, item, held, task
        self.draft = self.cancelled = False


class Inputs(RuleBasedStateMachine):
    """A real session against a model that is a state (None, a text or a file), the active send and a queue."""

    texts = st.sampled_from(["a", "b", "c"])
    files = st.sampled_from(["x.pdf", "y.pdf"]).map(small)

    @initialize()
    def open(self):
        self.runner = asyncio.Runner()
        self.backend = GatedBackend()
        self.model, self.active, self.waiting, self.messages = None, None, deque(), []
        self.count = 0

        async def begin():
            await self.backend.open()
            self.connection = connect(self.backend, identity="ada")
            self.session = await self.connection.__aenter__()
            self.channel = (await self.session.create_channel()).sid

        self.runner.run(begin())

    def teardown(self):
        if not hasattr(self, "runner"):
            return
        while self.active is not None:
            self.succeed()
        if self.model is not None:
            self.model = None
            self.run("DetachFile" if self.session.input(self.channel).file else "SetInputText", body="")
        assert self.session._chat._slots == {}
        assert self.session.actions.find_pending() == []

        async def end():
            shown = [m.body or m.media.name for m in await self.session.messages(self.channel)]
            await self.connection.__aexit__(None, None, None)
            assert len(self.backend._shared.content) == sum(name.endswith(".pdf") for name in shown)
            await self.backend.close()
            return shown

        assert self.runner.run(end()) == self.messages
        self.runner.close()

    # What is done to the session

    def run(self, action, **payload):
        """Invoke and return the error code, or None."""
        if action == "DetachFile":
            payload.pop("body", None)

        async def invoke():
            try:
                await self.session.actions.invoke(action, {"channelSid": self.channel, **payload})
            except ActionError as error:
                return error.code

        return self.runner.run(invoke())

    def settle(self):
        async def turns():
            for _ in range(40):
                await asyncio.sleep(0)

        self.runner.run(turns())

    # What the model expects

    def begin_next(self):
        """Begin the sends whose turn it is; those that cannot be sent are refused."""
        while self.active is None and self.waiting:
            send = self.waiting.popleft()
            refusal = self.judge(send)
            if refusal is None:
                self.active = send
            else:
                self.settle()
                assert send.task.exception().code == refusal

    def judge(self, send):
        if send.is_file:
            holds = self.model if isinstance(self.model, File) else None
            if send.item is None:
                send.item, send.draft = send.held, True
                return None if send.item is not None and send.item is holds else "nothing_attached"
            send.draft = name_of(send.item) == name_of(holds)
            return None
        if send.item is None:
            send.item, send.draft = send.held, True
            return None if send.item is not None and send.item == self.model else "nothing_to_send"
        send.draft = isinstance(self.model, str)
        return None

    def end(self, *, sent):
        send, self.active = self.active, None
        if sent:
            self.messages.append(name_of(send.item))
            self.model = None if send.draft else self.model
        self.begin_next()
        return send

    # Rules

    @rule(body=texts | st.just(""))
    def set_text(self, body):
        code = self.run("SetInputText", body=body)
        if self.active is not None:
            assert code == "input_busy"
        elif isinstance(self.model, File):
            assert code == ("input_holds_file" if body else None)
        else:
            assert code is None
            self.model = body or None

    @rule(file=files)
    def attach(self, file):
        code = self.run("AttachFile", file=file)
        if self.active is not None:
            assert code == "input_busy"
        elif isinstance(self.model, File):
            assert code == "one_file_at_a_time"
        else:
            assert code is None
            self.model = file

    @rule()
    def attach_what_is_not_accepted(self):
        assert self.run("AttachFile", file=small("a.exe")) == "invalid_type"

    @rule(file=st.none() | files)
    def detach(self, file):
        code = self.run("DetachFile", file=file)
        if self.active is not None:
            assert code == "input_busy"
        elif not isinstance(self.model, File):
            assert code == "nothing_attached"
        elif file is not None and file.name != self.model.name:
            assert code == "file_not_attached"
        else:
            assert code is None
            self.model = None

    @rule(item=st.none() | texts | files, is_file=st.booleans())
    def send(self, item, is_file):
        is_file = is_file if item is None else isinstance(item, File)
        self.count += 1
        payload = {"channelSid": self.channel, "messageAttributes": {"n": self.count}}
        payload["file" if is_file else "body"] = item
        kind = File if is_file else str
        held = self.model if isinstance(self.model, kind) else None

        async def invoke():
            name = "SendMediaMessage" if is_file else "SendMessage"
            return asyncio.create_task(self.session.actions.invoke(name, payload))

        self.waiting.append(Send(is_file, item, held, self.runner.run(invoke())))
        self.settle()
        self.begin_next()

    @precondition(lambda self: self.active is not None)
    @rule()
    def succeed(self):
        self.backend.gates[0].set_result(None)
        self.settle()
        send = self.end(sent=True)
        if send.cancelled:
            assert send.task.cancelled()
        else:
            assert send.task.result().index == len(self.messages) - 1

    @precondition(lambda self: self.active is not None)
    @rule()
    def fail(self):
        self.backend.gates[0].set_exception(ActionError("backend_unavailable", "Unplugged."))
        self.settle()
        send = self.end(sent=False)
        assert send.task.cancelled() if send.cancelled else send.task.exception().code == "backend_unavailable"

    @precondition(lambda self: self.active is not None)
    @rule()
    def cancel(self):
        """Before the commit (an upload) a send ends at once; in it (a text being posted) it waits for the outcome."""
        self.active.task.cancel()
        self.settle()
        if self.active.is_file:
            assert self.end(sent=False).task.cancelled()
        else:
            self.active.cancelled = True
            assert not self.active.task.done()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def cancel_a_waiting_one(self, data):
        send = data.draw(st.sampled_from(list(self.waiting)))
        send.task.cancel()
        self.settle()
        self.waiting.remove(send)
        assert send.task.cancelled()

    @invariant()
    def the_input_holds_what_the_model_says(self):
        if not hasattr(self, "session"):
            return
        view = self.session.input(self.channel)
        if self.active is not None:
            assert view.state.kind == "SENDING"
            assert name_of(view.state.file or view.state.text) == name_of(self.active.item)
        else:
            assert (view.file or view.text) is self.model or view.text == self.model
        assert view.can_attach == (self.active is None and self.model is None)
        assert len(self.backend.gates) == (self.active is not None)


Inputs.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestInputs = Inputs.TestCase
