"""Progress of uploads and downloads: on a terminal only, on stderr, for files that take a while."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

from .. import signals
from ..session import Session
from .render import shown

_WORTH_IT_BYTES: Final = 1_000_000

Show = Callable[[str, int, int], None]


@contextlib.contextmanager
def progress_shown(session: Session | None = None) -> Iterator[None]:
    """Show the progress of a session (of all, if none is named) while this lasts."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield
        return
    with contextlib.ExitStack() as stack:
        show: Show | None = None

        def moved(name: str, done: int, total: int) -> None:
            nonlocal show
            if total < _WORTH_IT_BYTES:
                return
            if show is None:
                show = stack.enter_context(_bar())
            show(name, done, total)

        def uploaded(_: Any, *, file: Any, done_bytes: int, total_bytes: int) -> None:
            moved(file.name, done_bytes, total_bytes)

        def downloaded(_: Any, *, name: str, done_bytes: int, total_bytes: int) -> None:
            moved(name, done_bytes, total_bytes)

        for signal, receiver in ((signals.upload_progress, uploaded), (signals.download_progress, downloaded)):
            if session is None:
                signal.connect(receiver)
            else:
                signal.connect(receiver, sender=session)
            stack.callback(signal.disconnect, receiver)
        yield


@contextlib.contextmanager
def work_shown() -> Iterator[Show | None]:
    """Something to tell the progress of long work to; None where there is no terminal."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    with _bar() as show:
        yield lambda what, done, total: show(what, done, total) if total >= _WORTH_IT_BYTES else None


def _bar() -> contextlib.AbstractContextManager[Show]:
    try:
        import rich.progress  # noqa: F401
    except ImportError:
        return _percent()
    return _rich_bar()


@contextlib.contextmanager
def _rich_bar() -> Iterator[Show]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.DownloadColumn(),
        progress.TransferSpeedColumn(),
    )
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[tuple[str, int], progress.TaskID] = {}

        def show(name: str, done: int, total: int) -> None:
            task = tasks.get((name, total))
            if task is None:
                task = tasks[name, total] = bar.add_task(shown(name), total=total)
            bar.update(task, completed=done)
            if done >= total:
                bar.remove_task(tasks.pop((name, total)))

        yield show


@contextlib.contextmanager
def _percent() -> Iterator[Show]:
    last = ""

    def show(name: str, done: int, total: int) -> None:
        nonlocal last
        line = f"{done * 100 // total:3d}% {shown(name)[:60]}"
        if line != last:
            sys.stderr.write(f"\r{line.ljust(len(last))}")
            sys.stderr.flush()
            last = line

    try:
        yield show
    finally:
        sys.stderr.write("\r" + " " * len(last) + "\r")
        sys.stderr.flush()
