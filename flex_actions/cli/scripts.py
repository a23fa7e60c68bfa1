"""`run`: many invocations, one a line, in sessions that stay open."""

import contextlib
import sys
from collections.abc import AsyncGenerator, Mapping
from typing import Any, BinaryIO, Final

import attrs
import click

from ..attachments import ROLES, Role
from ..backends import open_backend
from ..errors import ActionError, brief
from ..nearest import did_you_mean
from ..outbox import Sent
from ..ports import Backend
from ..registry import is_duration
from ..session import Session
from . import exits
from .app import command, main
from .arguments import read_json
from .lines import MAX_LINE_BYTES, lines_of
from .options import Options
from .progress import progress_shown
from .render import error_facts, put_json, say_error
from .sessions import must_be_there, session_of, with_channel_sid

_KEYS: Final = ("id", "action", "payload", "key", "as", "role", "timeoutS")
_REMEMBERED: Final = 10_000


@attrs.frozen
class Line:
    """One line of a script."""

    action: str
    payload: Mapping[str, Any]
    key: str | None = None
    identity: str | None = None
    role: Role | None = None
    timeout_s: float | None = None


@command(main, "run")
@click.argument(
    "script", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=str), default="-", required=False
)
@click.option("--keep-going", is_flag=True, help="Go on after a line that fails.")
async def run(options: Options, script: str, keep_going: bool) -> None:
    """Invoke the actions of a script, one a line.

    Each line of SCRIPT (by default of stdin) is a JSON object:

    \b
    {"action": "AttachFile", "payload": {"file": "a.pdf", "channelSid": "support"}}
    {"id": "a", "action": "SendMediaMessage", "payload": {"channelSid": "support"}}
    {"action": "DownloadMedia", "payload": {"message": {"id": "a"}}, "as": "carl", "role": "customer"}

    Besides action and payload a line may have: id (any value, returned with the result), key (an idempotency key),
    as and role (whose session; by default --as and --role, or the role this identity had last), timeoutS. Sessions
    stay open to the end, with their message inputs. {"id": …} as message stands for the message that the line of
    that id sent. Empty lines and lines that begin with # are skipped; relative paths start at the current folder.

    Each line gives one JSON line on stdout, before the next one is read: {"id": …, "ok": true, "result": …} or
    {"id": …, "ok": false, "error": {"code": …, "message": …, "line": …}}. The first failure ends it, unless
    --keep-going.
    """
    failed = False
    must_be_there(options.chat)
    async with open_backend(options.chat) as backend, contextlib.AsyncExitStack() as stack:
        cast_ = _Cast(options, backend, stack)
        if options.identity:
            # A wrong option or plugin is found before the first line does anything.
            await cast_.session(options.identity, None)
        stream = stack.enter_context(_opened(script))
        statements = await stack.enter_async_context(contextlib.aclosing(_statements(stream)))
        with progress_shown():
            async for number, raw in statements:
                if not await cast_.perform(number, raw):
                    failed = True
                    if not keep_going:
                        break
    if failed:
        click.get_current_context().exit(exits.REFUSED)


def _opened(script: str) -> contextlib.AbstractContextManager[BinaryIO]:
    if script != "-":
        return open(script, "rb")
    if sys.stdin is None:
        raise click.UsageError("stdin is closed.", click.get_current_context())
    return contextlib.nullcontext(sys.stdin.buffer)


async def _statements(stream: BinaryIO) -> AsyncGenerator[tuple[int, bytes | None], None]:
    async with contextlib.aclosing(lines_of(stream)) as lines:
        async for number, raw in lines:
            text = raw
            if text is not None and number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
            if text is None or (text.strip() and not text.lstrip().startswith(b"#")):
                yield number, text


class _Cast:
    """Who plays in a script: the sessions that it has opened."""

    def __init__(self, options: Options, backend: Backend, stack: contextlib.AsyncExitStack) -> None:
        self._options = options
        self._backend = backend
        self._stack = stack
        self._sessions: dict[tuple[str, Role], Session] = {}
        self._roles: dict[str, Role] = {}
        self._sent: dict[str, str] = {}

    async def session(self, identity: str, role: Role | None) -> Session:
        """The session of an identity, opened if it is its first line."""
        role = role or self._roles.get(identity) or self._options.role or "agent"
        session = self._sessions.get((identity, role))
        if session is None:
            opened = session_of(self._options, identity, role, backend=self._backend)
            session = self._sessions[identity, role] = await self._stack.enter_async_context(opened)
        self._roles[identity] = role
        return session

    async def perform(self, number: int, raw: bytes | None) -> bool:
        """Do what a line says and print its result; whether it went well."""
        answer: dict[str, Any] = {"id": None}
        try:
            facts = _decode(raw)
            answer["id"] = facts.get("id")
            result = await self._invoke(_read(facts))
        except ActionError as error:
            put_json({**answer, "ok": False, "error": {**error_facts(error), "line": number}})
            say_error(error, f" in line {number}")
            return False
        self._remember(answer["id"], result)
        put_json({**answer, "ok": True, "result": result})
        return True

    async def _invoke(self, line: Line) -> Any:
        identity = line.identity or self._options.identity
        if not identity:
            raise _invalid("The line does not say who acts.", 'Write "as": IDENTITY, or run with --as.')
        session = await self.session(identity, line.role)
        payload = await with_channel_sid(session, line.action, self._with_message(line.payload))
        return await session.actions.invoke(line.action, payload, key=line.key, timeout_s=line.timeout_s)

    def _with_message(self, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = payload.get("message")
        if not isinstance(wanted, dict) or list(wanted) != ["id"]:
            return payload
        sid = self._sent.get(_id(wanted["id"]))
        if sid is None:
            raise _invalid(f"No earlier line with the id {wanted['id']!a} sent a message.")
        return {**payload, "message": sid}

    def _remember(self, identifier: Any, result: Any) -> None:
        if identifier is not None and isinstance(result, Sent):
            self._sent[_id(identifier)] = result.message_sid
            if len(self._sent) > _REMEMBERED:  # a script may be endless
                del self._sent[next(iter(self._sent))]


def _id(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"


def _invalid(message: str, hint: str | None = None) -> ActionError:
    return ActionError("invalid_payload", message, hint=hint)


def _decode(raw: bytes | None) -> dict[str, Any]:
    if raw is None:
        raise _invalid(f"The line is longer than {MAX_LINE_BYTES} bytes.", "A file is given by its path.")
    try:
        facts = read_json(raw.decode())
    except UnicodeDecodeError:
        raise _invalid("The line is no UTF-8 text.") from None
    except ValueError as error:
        raise _invalid(f"The line is no JSON: {error}") from error
    if not isinstance(facts, dict):
        raise _invalid(f"The line must be a JSON object, not {type(facts).__name__}.")
    return facts


def _read(facts: Mapping[str, Any]) -> Line:
    """A line, checked. Raises `invalid_payload`."""
    for key in facts:
        if key not in _KEYS:
            raise _invalid(f"A line has no key {key!a}.", did_you_mean(key, _KEYS))
    if "action" not in facts:
        raise _invalid("The line has no action.")
    payload = facts.get("payload")
    if payload is not None and not isinstance(payload, dict):
        raise _invalid(f"payload must be a JSON object, not {type(payload).__name__}.")
    for key in ("action", "key", "as", "role"):
        if not isinstance(facts.get(key, ""), str):
            raise _invalid(f"{key} must be text, not {type(facts[key]).__name__}.")
    if (role := facts.get("role")) is not None and role not in ROLES:
        raise _invalid(f"There is no role {role!a}.", did_you_mean(role, ROLES))
    return Line(
        action=facts["action"],
        payload=payload or {},
        key=facts.get("key"),
        identity=facts.get("as"),
        role=role,
        timeout_s=_seconds(facts.get("timeoutS")),
    )


def _seconds(value: Any) -> float | None:
    if value is None:
        return None
    if not is_duration(value) or not value:
        raise _invalid(f"timeoutS must be a number above 0 and below 1e9, not {brief(value)}.")
    return float(value)
