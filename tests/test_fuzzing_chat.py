"""A machine against a simple model: an agent and a customer in a chat on disk, hostile values, time, reopening.

`test_message_input` has another one, for what happens at the same time. Here one thing happens after another, and after
each of them the messages, inputs, links and the files in the folder are the model's.
"""

import io
import pathlib
import shutil
import tempfile

import attrs
from hostile import attributes, names, search, texts
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule
from scene import Scene, check_error, check_paths, media_in, paths_in

from flex_actions import ActionError, File
from flex_actions.clock import CountingIds, ManualClock
from flex_actions.files import clean_name
from flex_actions.ports import LINK_LIFE_S, PURGE_AFTER_S
from flex_actions.values import attributes_json

LIMIT = 64
ACCEPTED = ["pdf", "txt", "tar.gz", "ﬁ"]
CONFIG = {
    side: {"fileAttachment": {"maxFileSize": LIMIT, "acceptedExtensions": ACCEPTED}} for side in ("agent", "customer")
}
who = st.sampled_from(["ada", "cleo"])


@attrs.define
class Given:
    """A file as a user gives it, and what it must come to."""

    name: str
    data: bytes
    cut_off: bool = False

    @property
    def file(self):
        if not self.cut_off:
            return File.from_bytes(self.data, name=self.name)

        async def less():
            yield self.data[:-1]

        return File.from_stream(less, name=self.name, size_bytes=len(self.data))

    @property
    def refusal(self):
        name = clean_name(self.name).casefold()
        if not any(name.endswith("." + e.casefold()) and len(name) > len(e) + 1 for e in ACCEPTED):
            return "invalid_type"
        return None if 0 < len(self.data) <= LIMIT else "invalid_size"


@attrs.define(eq=False)
class Sent:
    """A message of the model. `media` is its file's sid."""

    sid: str
    author: str
    content: object
    facts: object
    media: str | None = None
    deleted: bool = False


@attrs.define(eq=False)
class Linked:
    """A link of the model: the times its reader had joined by then say which membership it hangs on."""

    url: str
    reader: str
    message: Sent
    joined: int
    expires_at: float


good_names = names.map(lambda name: name + "x.pdf")
contents = st.binary(min_size=1, max_size=LIMIT)
files = st.one_of(
    st.builds(Given, names, st.binary(max_size=LIMIT + 1)),
    st.builds(Given, good_names, contents),
    st.builds(Given, good_names, contents, st.just(True)),
)
EMPTY = None


class Chats(RuleBasedStateMachine):
    """The model is what the attributes say; each rule says what it expects of the answer."""

    messages = Bundle("messages")
    links = Bundle("links")

    @initialize()
    def begin(self):
        self.parent = pathlib.Path(tempfile.mkdtemp(prefix="flex-fuzz-"))
        self.clock = ManualClock()
        self.scene = Scene(self.parent, clock=self.clock, ids=CountingIds(), config=CONFIG)
        self.scene.run(self.scene.begin())
        self.sent = []
        self.inputs = {"ada": EMPTY, "cleo": EMPTY}
        self.joined = {"ada": 1, "cleo": 1}
        self.members = {"ada", "cleo"}
        self.closed = False

    def teardown(self):
        if hasattr(self, "scene"):
            self.scene.end()
            check_paths(self.parent / "chat")
            shutil.rmtree(self.parent)

    # What is asked of the chat

    def session(self, identity):
        return self.scene.ada if identity == "ada" else self.scene.cleo

    def ask(self, call):
        """The answer and the code of the error, which has changed nothing."""
        answer = self.scene.run(self.scene.outcome(call))
        return (None, answer.code) if isinstance(answer, ActionError) else (answer, None)

    def invoke(self, identity, action, **payload):
        payload = {"channelSid": self.scene.channel, **payload}
        return self.ask(lambda: self.session(identity).actions.invoke(action, payload))

    def barred(self, identity):
        """Why somebody may not write, if so."""
        if identity not in self.members:
            return "not_a_member"
        return "channel_closed" if self.closed else None

    # Rules

    @rule(identity=who, given=files)
    def attach(self, identity, given):
        expected = self.barred(identity) or given.refusal
        if expected is None and isinstance(self.inputs[identity], Given):
            expected = "one_file_at_a_time"
        _, code = self.invoke(identity, "AttachFile", file=given.file)
        assert code == expected
        if code is None:
            self.inputs[identity] = given

    @rule(identity=who)
    def detach(self, identity):
        _, code = self.invoke(identity, "DetachFile")
        if identity not in self.members:
            assert code == "not_a_member"
        elif not isinstance(self.inputs[identity], Given):
            assert code == "nothing_attached"
        else:
            assert code is None
            self.inputs[identity] = EMPTY

    @rule(identity=who, body=texts)
    def enter(self, identity, body):
        _, code = self.invoke(identity, "SetInputText", body=body)
        if any("\ud800" <= c <= "\udfff" for c in body):
            assert code == "invalid_payload"
        elif expected := self.barred(identity):
            assert code == expected
        elif isinstance(self.inputs[identity], Given):
            assert code == ("input_holds_file" if body else None)
        else:
            assert code is None
            self.inputs[identity] = body or EMPTY

    @rule(target=messages, identity=who, given=st.none() | files, facts=st.just({}) | attributes)
    def send_a_file(self, identity, given, facts):
        held = self.inputs[identity] if isinstance(self.inputs[identity], Given) else None
        answer, code = self.invoke(
            identity, "SendMediaMessage", file=None if given is None else given.file, messageAttributes=facts
        )
        what = given or held
        expected = self.wrong(facts) or self.barred(identity)
        expected = expected or ("nothing_attached" if what is None else what.refusal)
        if expected is None and what.cut_off:
            expected = "file_changed"  # found out while it is stored: nothing stays behind, what is attached stays so
        assert code == expected
        if code is not None:
            return multiple()
        if held is not None and what.file.same_as(held.file):
            self.inputs[identity] = EMPTY
        return self.posted(identity, answer, what, facts)

    @rule(target=messages, identity=who, body=st.none() | texts, facts=st.just({}) | attributes)
    def send_a_text(self, identity, body, facts):
        held = self.inputs[identity] if isinstance(self.inputs[identity], str) else None
        answer, code = self.invoke(identity, "SendMessage", body=body, messageAttributes=facts)
        what = held if body is None else body
        if body is not None and any("\ud800" <= c <= "\udfff" for c in body):
            assert code == "invalid_payload"
        elif expected := self.wrong(facts):
            assert code == expected
        elif not what:
            assert code in ("nothing_to_send", self.barred(identity))
        else:
            assert code == self.barred(identity)
        if code is not None:
            return multiple()
        if held is not None:
            self.inputs[identity] = EMPTY
        return self.posted(identity, answer, what, facts)

    def wrong(self, facts):
        try:
            attributes_json(facts if facts is not None else {})
        except (ActionError, TypeError, ValueError):
            return "invalid_payload"
        return None if isinstance(facts, dict) or facts is None else "invalid_payload"

    def posted(self, identity, answer, what, facts):
        message = Sent(answer.message_sid, identity, what, facts or {}, answer.media_sid)
        assert answer.index == len(self.sent)
        self.sent.append(message)
        return message

    @rule(identity=who, message=messages)
    def delete(self, identity, message):
        _, code = self.invoke(identity, "DeleteMessage", message=message.sid)
        if identity not in self.members:
            assert code == "not_a_member"
        elif message.deleted:
            assert code == "unknown_message"
        elif identity == "cleo" and message.author != "cleo":
            assert code == "not_authorized"
        else:
            assert code is None
            message.deleted = True

    @rule(target=links, identity=who, message=messages)
    def ask_for_a_link(self, identity, message):
        link, code = self.invoke(identity, "DownloadMedia", message=message.sid)
        if identity not in self.members:
            expected = "not_a_member"
        elif message.deleted:
            expected = "unknown_message"
        else:
            expected = None if message.media else "no_media"
        assert code == expected
        if code is not None:
            return multiple()
        return Linked(link.url, identity, message, self.joined[identity], self.clock.now() + LINK_LIFE_S)

    @rule(link=links, identity=who)
    def open_a_link(self, link, identity):
        target = io.BytesIO()
        _, code = self.ask(lambda: self.session(identity).download(link.url, target))
        if self.clock.now() >= link.expires_at:
            expected = "link_expired"
        elif link.message.deleted:
            expected = "media_deleted"
        elif link.reader not in self.members or self.joined[link.reader] != link.joined:
            expected = "not_a_member"
        else:
            expected = None if identity == link.reader else "not_authorized"
        assert code == expected
        assert target.getvalue() == (b"" if code else link.message.content.data)

    @rule(identity=who, message=messages)
    def download_into_a_folder(self, identity, message):
        target = pathlib.Path(tempfile.mkdtemp(dir=self.parent / "beside"))
        try:
            path = self.scene.run(self.session(identity).download(message.sid, target))
        except ActionError as error:
            check_error(error)
            assert paths_in(target) == []
            assert identity not in self.members or message.deleted or not message.media
        else:
            assert paths_in(target) == [clean_name(message.content.name)]
            assert path.read_bytes() == message.content.data
        shutil.rmtree(target)

    @rule(identity=who)
    def leave(self, identity):
        _, code = self.ask(lambda: self.session(identity).leave(self.scene.channel))
        assert code == (None if identity in self.members else "not_a_member")
        self.members.discard(identity)

    @rule(identity=who)
    def join(self, identity):
        _, code = self.ask(lambda: self.session(identity).join(self.scene.channel))
        assert code == ("channel_closed" if self.closed and identity not in self.members else None)
        if code is None and identity not in self.members:
            self.members.add(identity)
            self.joined[identity] += 1

    @precondition(lambda self: len(self.sent) > 3)
    @rule(identity=who)
    def close_the_channel(self, identity):
        _, code = self.ask(lambda: self.session(identity).close_channel(self.scene.channel))
        if identity not in self.members:
            assert code == "not_a_member"
        else:
            assert code == ("not_authorized" if identity == "cleo" else None)
            self.closed = self.closed or code is None

    @rule(seconds=st.sampled_from([1.0, LINK_LIFE_S - 1, LINK_LIFE_S, PURGE_AFTER_S]))
    def wait(self, seconds):
        self.clock.advance(seconds)
        # What is due by now goes by itself, but not in the middle of the next rule.
        self.purge()

    @rule()
    def purge(self):
        self.scene.run(self.scene.backend.purge())
        rows = self.scene.db.execute("SELECT at FROM event WHERE identity IS NOT NULL").fetchall()
        assert all(at > self.clock.now() - PURGE_AFTER_S for (at,) in rows)

    @rule()
    def reopen(self):
        """All that was sent is there; what was only entered has gone with its session."""
        self.scene.run(self.scene.close())
        check_paths(self.parent / "chat")
        self.scene.run(self.scene.open())
        self.inputs = {"ada": EMPTY, "cleo": EMPTY}

    # What holds after each step

    @invariant()
    def the_messages_are_the_models(self):
        if not hasattr(self, "scene"):
            return
        found = self.scene.run(self.scene.backend.list_messages(self.scene.channel))
        wanted = [(i, m) for i, m in enumerate(self.sent) if not m.deleted]
        assert [(m.index, m.sid, m.author) for m in found] == [(i, m.sid, m.author) for i, m in wanted]
        for message, (_, model) in zip(found, wanted, strict=True):
            assert attributes_json(message.attributes) == attributes_json(model.facts)
            if model.media is None:
                assert (message.body, message.media) == (model.content, None)
            else:
                assert message.media.sid == model.media
                assert message.media.name == clean_name(model.content.name)
                assert message.media.size_bytes == len(model.content.data)

    @invariant()
    def the_inputs_are_the_models(self):
        for identity in ("ada", "cleo") if hasattr(self, "scene") else ():
            view, model = self.session(identity).input(self.scene.channel), self.inputs[identity]
            if isinstance(model, Given):
                assert (view.text, view.file.name) == (None, clean_name(model.name))
            else:
                assert (view.text, view.file) == (model, None)

    @invariant()
    def the_files_on_disk_are_the_models_and_nothing_else_is_anywhere(self):
        if hasattr(self, "scene"):
            check_paths(self.scene.folder)
            assert media_in(self.scene.folder) == sorted(m.media for m in self.sent if m.media and not m.deleted)
            assert paths_in(self.parent / "beside") == ["chat.sqlite3"]
            assert sorted(p.name for p in self.parent.iterdir()) == ["beside", "chat"]


Chats.TestCase.settings = search(25, stateful_step_count=30)
TestChats = Chats.TestCase
