"""`key=value`, `key:=json` and `key@path`: a payload on a command line; and JSON without its pitfalls."""

import json
import os
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

import click

from ..files import File

_PART: Final = re.compile(r"([^=:@\s]+)(:=|=|@)(.*)", re.DOTALL)


def read_json(text: str) -> Any:
    """JSON as the standard has it: no NaN, no key twice, not nested without end.

    Raises:
        ValueError: a sentence that says what is wrong and where.
    """
    try:
        return json.loads(text, parse_constant=_no_constant, parse_int=_number, object_pairs_hook=_no_key_twice)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ValueError(f"{error.msg} at {line}column {error.colno}.") from error
    except RecursionError:
        raise ValueError("It is nested too deeply.") from None


def _number(digits: str) -> int:
    try:
        return int(digits)
    except ValueError:  # Python reads no more than some thousand digits
        raise ValueError(f"A number has {len(digits)} digits.") from None


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON.")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"The key {twice!a} stands there twice.")
    return found


def read_payload(parts: Iterable[str]) -> dict[str, Any]:
    """A payload from its parts.

    Raises:
        click.UsageError: a part that is none, a key given twice, broken JSON.
        ActionError: `file_unreadable`.
    """
    payload: dict[str, Any] = {}
    for part in parts:
        match = _PART.fullmatch(part)
        if match is None:
            _refuse(f"{part[:80]!a} is no key=value, key:=json or key@path.")
        key, kind, rest = match.groups()
        if key in payload:
            _refuse(f"{key!a} is given twice.")
        payload[key] = _value(key, kind, rest)
    return payload


def _value(key: str, kind: str, rest: str) -> Any:
    if kind == "=":
        return rest
    if kind == "@":
        if rest == "-":
            _refuse(f"{key}@- : a file is given by its path; stdin is none. Save it first (or, for a file '-': ./-).")
        return File.from_path(os.path.expanduser(rest))
    try:
        return read_json(rest)
    except ValueError as error:
        _refuse(f"The value of {key!a} is no JSON: {error} For text write = instead of :=.")


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context(silent=True))
