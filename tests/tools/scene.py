"""A chat on disk that is watched: what is in its folder, in its tables, and beside it."""

import asyncio
import json
import os
import re
import stat

from flex_actions import CODES, ActionError, connect, open_backend
from flex_actions.backends import sql
from flex_actions.backends.local import DATABASE

# Everything that may ever lie in a store's folder: no name that anybody gave has a place here.
PATHS = re.compile(
    r"lock|open(/[0-9a-f]{16})?|chat\.sqlite3(-wal|-shm|-journal)?"
    r"|incoming(/ME[0-9a-f]{32}\.part)?|media(/([0-9a-f])(/ME[0-9a-f]{31}\5)?)?"
)


def paths_in(folder):
    """All paths below a folder, relative to it."""
    found = []
    for top, folders, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(top, name), folder) for name in (*folders, *files)]
    return sorted(found)


def media_in(folder):
    """The files of a store, whole or in parts."""
    return sorted(p.rpartition("/")[2] for p in paths_in(folder) if p.startswith(("media/", "incoming/")) and "ME" in p)


def check_paths(folder):
    """Nothing lies in a store's folder but what belongs there, and all of it for its owner only."""
    for path in paths_in(folder):
        assert PATHS.fullmatch(path), path
        mode = os.stat(os.path.join(folder, path)).st_mode
        assert stat.S_IMODE(mode) == (0o700 if stat.S_ISDIR(mode) else 0o600), path


def check_error(error):
    """One error of ours: a code, one line for people, facts for programs."""
    assert isinstance(error, ActionError)
    assert error.code in CODES
    assert 0 < len(str(error)) < 3000
    assert len(str(error).splitlines()) == 1, str(error)
    json.dumps(error.as_dict())


def rows_of(db):
    """Every row of every table."""
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    return {name: db.execute(f'SELECT * FROM "{name}"').fetchall() for name in tables}


class Scene:
    """An agent and a customer in a channel of a chat on disk. Everything runs in a loop of its own, by `run`."""

    def __init__(self, parent, *, config=None, **options):
        self.parent, self.folder = parent, parent / "chat"
        self.runner = asyncio.Runner()
        self.config, self.options = config, options
        (parent / "beside").mkdir()
        (parent / "beside" / "chat.sqlite3").write_text("somebody else's")

    def run(self, coroutine):
        return self.runner.run(coroutine)

    async def open(self):
        self._opened = open_backend(f"local:{self.folder}", **self.options)
        self.backend = await self._opened.__aenter__()
        self._sessions = [
            connect(self.backend, identity="ada", config=self.config),
            connect(self.backend, identity="cleo", role="customer", config=self.config),
        ]
        self.ada, self.cleo = [await s.__aenter__() for s in self._sessions]
        self.db = sql.connect(str(self.folder / DATABASE), read_only=True)

    async def close(self):
        self.db.close()
        for session in self._sessions:
            await session.__aexit__(None, None, None)
        await self._opened.__aexit__(None, None, None)

    async def begin(self):
        await self.open()
        self.channel = (await self.ada.create_channel("support", members=["cleo"])).sid

    def end(self):
        self.run(self.close())
        self.runner.close()

    def look(self):
        """All that a refusal must leave as it was."""
        check_paths(self.folder)
        beside = {p: (self.parent / p).stat().st_size for p in paths_in(self.parent) if not p.startswith("chat")}
        inputs = [session.input(self.channel).state for session in (self.ada, self.cleo)]
        return rows_of(self.db), media_in(self.folder), beside, inputs

    async def outcome(self, call):
        """What a call gives; or its error, which must be one of ours and have changed nothing."""
        before = self.look()
        try:
            return await call()
        except ActionError as error:
            check_error(error)
            assert self.look() == before
            return error
