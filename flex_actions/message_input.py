"""The message input: text or one file, never both. One table, pure functions; a refusal changes nothing."""

from collections.abc import Callable
from typing import Any, Final, Literal

import attrs

from .errors import ActionError
from .files import File

Kind = Literal["EMPTY", "TEXT", "FILE", "SENDING"]
EventName = Literal["SetInputText", "AttachFile", "DetachFile", "SendMessage", "SendMediaMessage", "sent", "unsent"]


@attrs.frozen
class InputState:
    """What an input holds.

    Attributes:
        kind: EMPTY, TEXT, FILE or SENDING.
        text: for TEXT, and for SENDING a text.
        file: for FILE, and for SENDING a file.
        back: for SENDING: what the input holds again if the send fails.
        draft: for SENDING: what is sent came out of the input, so a success empties it.
    """

    kind: Kind
    text: str | None = None
    file: File | None = None
    back: "InputState | None" = None
    draft: bool = False


EMPTY: Final = InputState("EMPTY")


@attrs.frozen
class Cell:
    """One cell of the table: what it says in the docs and what it does."""

    label: str
    step: Callable[[InputState, Any], InputState]


# One sentence a refusal; the hint says what to do.
_REFUSALS: Final = {
    "input_holds_file": ("Text cannot be entered while a file is attached.", "Send or detach the file first."),
    "input_busy": ("The message input is sending.", "Wait until the send has ended."),
    "one_file_at_a_time": (
        "A file is attached already; a message carries one.",
        "Send or detach it first; several files: one after another, or zipped.",
    ),
    "nothing_attached": ("No file is attached.", "Attach one first, or name the file to send."),
    "file_not_attached": ("Another file is attached.", "Name the attached file, or none."),
    "nothing_to_send": ("There is no text to send.", "Give a body, or enter text first."),
}


def _text(text: str) -> InputState:
    return InputState("TEXT", text=text) if text else EMPTY


def _file(file: File) -> InputState:
    return InputState("FILE", file=file)


def _refuse(code: str, hint: str | None = None) -> Cell:
    message, usual = _REFUSALS[code]
    hint = hint or usual

    def step(state: InputState, argument: Any) -> InputState:
        raise ActionError(code, message, hint=hint)

    return Cell(f"`{code}`", step)


def _set_text_on_file(state: InputState, text: str) -> InputState:
    return state if not text else _HOLDS_FILE.step(state, text)


def _detach(state: InputState, file: File | None) -> InputState:
    assert state.file is not None
    return EMPTY if file is None or file.same_as(state.file) else _NOT_ATTACHED.step(state, file)


def _send_text(state: InputState, body: str | None) -> InputState:
    """From EMPTY or TEXT: a body given while text is entered is that draft, as a person would have sent it."""
    text = body if body is not None else state.text
    if not text:
        return _NOTHING_TO_SEND.step(state, body)
    return InputState("SENDING", text=text, back=state, draft=True)


def _send_text_past_file(state: InputState, body: str | None) -> InputState:
    if not body:
        return _NOTHING_TO_SEND.step(state, body)
    return InputState("SENDING", text=body, back=state)


def _send_file(state: InputState, file: File | None) -> InputState:
    """From EMPTY or TEXT: straight from the caller, past the input."""
    if file is None:
        return _NOTHING_ATTACHED.step(state, file)
    return InputState("SENDING", file=file, back=state)


def _send_attached(state: InputState, file: File | None) -> InputState:
    assert state.file is not None
    if file is None or file.same_as(state.file):
        return InputState("SENDING", file=state.file, back=state, draft=True)
    return InputState("SENDING", file=file, back=state)


def _back(state: InputState) -> InputState:
    assert state.back is not None
    return state.back


_HOLDS_FILE: Final = _refuse("input_holds_file")
_BUSY: Final = _refuse("input_busy")
_ONE_FILE: Final = _refuse("one_file_at_a_time")
_NOTHING_ATTACHED: Final = _refuse("nothing_attached")
_NOTHING_TO_DETACH: Final = _refuse("nothing_attached", "Attach one first.")
_NOT_ATTACHED: Final = _refuse("file_not_attached")
_NOTHING_TO_SEND: Final = _refuse("nothing_to_send")
# A send that finds another one under way waits for its turn (`attachments.py`), so the step itself is never taken.
_WAITS: Final = Cell("waits", _BUSY.step)
_NEVER: Final = Cell("-", lambda state, _: state)

TABLE: Final[dict[EventName, dict[Kind, Cell]]] = {
    "SetInputText": {
        "EMPTY": Cell("TEXT", lambda _, text: _text(text)),
        "TEXT": Cell("TEXT, or EMPTY for none", lambda _, text: _text(text)),
        "FILE": Cell("`input_holds_file`; none: unchanged", _set_text_on_file),
        "SENDING": _BUSY,
    },
    "AttachFile": {
        "EMPTY": Cell("FILE", lambda _, file: _file(file)),
        "TEXT": Cell("FILE, the text is lost", lambda _, file: _file(file)),
        "FILE": _ONE_FILE,
        "SENDING": _BUSY,
    },
    "DetachFile": {
        "EMPTY": _NOTHING_TO_DETACH,
        "TEXT": _NOTHING_TO_DETACH,
        "FILE": Cell("EMPTY; another file: `file_not_attached`", _detach),
        "SENDING": _BUSY,
    },
    "SendMessage": {
        "EMPTY": Cell("SENDING, then EMPTY; no body: `nothing_to_send`", _send_text),
        "TEXT": Cell("SENDING; sent: EMPTY, failed: TEXT", _send_text),
        "FILE": Cell("SENDING, the file stays; no body: `nothing_to_send`", _send_text_past_file),
        "SENDING": _WAITS,
    },
    "SendMediaMessage": {
        "EMPTY": Cell("SENDING, then EMPTY; no file: `nothing_attached`", _send_file),
        "TEXT": Cell("SENDING, the text stays; no file: `nothing_attached`", _send_file),
        "FILE": Cell("SENDING; sent: EMPTY, failed: FILE; another file: sent, the attached stays", _send_attached),
        "SENDING": _WAITS,
    },
    "sent": {
        "EMPTY": _NEVER,
        "TEXT": _NEVER,
        "FILE": _NEVER,
        "SENDING": Cell("EMPTY for a draft, otherwise as before", lambda s, _: EMPTY if s.draft else _back(s)),
    },
    "unsent": {
        "EMPTY": _NEVER,
        "TEXT": _NEVER,
        "FILE": _NEVER,
        "SENDING": Cell("as before", lambda s, _: _back(s)),
    },
}


def step(state: InputState, event: EventName, argument: Any = None) -> InputState:
    """The state after an event.

    Args:
        state: the state before.
        event: an action's name, or `sent` / `unsent` for the outcome of a send.
        argument: the text, the file, or None.

    Raises:
        ActionError: the event is refused; the state stays as it is.
    """
    return TABLE[event][state.kind].step(state, argument)


def describe() -> str:
    """The table as Markdown, for the docs."""
    kinds: tuple[Kind, ...] = ("EMPTY", "TEXT", "FILE", "SENDING")
    rows = [f"| event | {' | '.join(kinds)} |", "|---|---|---|---|---|"]
    rows += [f"| {event} | {' | '.join(cells[k].label for k in kinds)} |" for event, cells in TABLE.items()]
    return "\n".join(rows)
