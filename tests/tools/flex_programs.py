"""Programs for a dispatcher, run on ours: the twin of `real_flex_programs.cjs`, step for step.

A program is JSON: `names` of actions, `shared` payload objects, `functions` and `ops`. Time is counted, not measured:
who waits is woken by a tick, one at a time, and then everything runs until nothing moves any more. So each wait puts
what runs at once in an order that both languages share.

    payload     ["none"] | ["is", value] | ["new", fields] | ["shared", number] | ["own"] (that of the function)
    function    name, role (update, body, before, after, replace, event), async, steps, end
    step        ["wait", ticks], ["turns", count], ["set", key, value], ["abort", …], ["late abort"],
                ["invoke", name, payload, "raise" | "catch"], ["spawn", name, payload],
                ["original" | "next", payload | None, "raise" | "catch" | "drop"], or an op
    op          register, replace, listen, unlisten, unlisten all, block, unblock, pending, blocked; in a program
                also ["invoke", name, payload], which is not awaited, and ["tick"]
    end         a payload to return, or "throw", "throw text", "got" (what was awaited last), "promise", "original"
"""

import asyncio
import heapq
from contextvars import ContextVar

from structlog.testing import capture_logs

from flex_actions import ActionAborted, ActionError, Actions, RegistrationError, signals
from flex_actions.steps import start_now

LIMIT = 60  # calls of functions in a program
DEPTH = 12  # how deep invocations nest; ours would refuse the 17th, Flex none
depth = ContextVar("depth", default=1)


class CountingLoop(asyncio.SelectorEventLoop):
    """Knows whether anything was scheduled, and keeps what nobody has looked at to itself."""

    def __init__(self):
        super().__init__()
        self.scheduled = 0
        self.set_exception_handler(lambda *_: None)  # a program may drop a call that fails

    def call_soon(self, *arguments, **options):
        self.scheduled += 1
        return super().call_soon(*arguments, **options)

    async def quiet(self):
        """Return when nothing but the caller moves any more."""
        before = None
        while before is None or self.scheduled > before + 1:
            before = self.scheduled
            await asyncio.sleep(0)


class Run:
    """One program on a fresh `Actions`."""

    def __init__(self, profile, program, loop):
        self.actions = Actions(profile)
        self.program = program
        self.loop = loop
        self.log = []
        self.reports = []
        self.shared = [dict(fields) for fields in program["shared"]]
        self.functions = [self.callable(written) for written in program["functions"]]
        self.timers = []
        self.settlers = []
        self.now = self.numbers = self.spawns = self.calls = 0
        self.late = None
        self.tasks = []

    # -- values --

    def payload(self, spec, own=None):
        kind, *value = spec
        if kind == "none":
            return None
        if kind == "own":
            return own
        if kind == "new":
            return dict(value[0])
        if kind == "shared":
            return self.shared[value[0] % len(self.shared)]
        return value[0]

    def view(self, value):
        if value is None:
            return None
        if not isinstance(value, dict):
            kinds = {bool: "boolean", str: "string"}
            return [kinds.get(type(value), "number"), value]
        number = next((i for i, s in enumerate(self.shared) if s is value), None)
        return ["object", number, [[key, self.view(value[key])] for key in sorted(value)]]

    @staticmethod
    def failure(error):
        if isinstance(error, (RegistrationError, TypeError)):
            return ["foreign"]  # what the machine itself says of a wrong type
        if isinstance(error, ActionError) and not isinstance(error, ActionAborted):
            return ["action", error.message, error.description]
        return ["plain", getattr(error, "message", str(error)), None]

    # -- functions --

    def callable(self, written):
        if written["async"]:

            async def function(*args):
                if not self.entered(written, args):
                    return None
                frame = Frame(written, args)
                for step in written["steps"]:
                    if (waiting := self.step(step, frame)) is not None:
                        await waiting
                outcome = self.end(written["end"], frame)
                return await outcome if asyncio.iscoroutine(outcome) or hasattr(outcome, "__await__") else outcome

        else:

            def function(*args):
                if not self.entered(written, args):
                    return None
                frame = Frame(written, args)
                for step in written["steps"]:
                    assert self.step(step, frame) is None
                return self.end(written["end"], frame)

        return function

    def entered(self, written, args):
        self.calls += 1
        if self.calls > LIMIT:
            return False
        args = (*args, None, None, None)
        seen = [self.view(a) for a in args[:3]] if written["role"] == "event" else self.view(args[0])
        self.log.append(["call", written["name"], seen])
        if written["role"] == "before":
            self.late = args[1]
        return True

    def end(self, end, frame):
        kind, *value = end
        self.log.append(["end", frame.name])
        if kind in ("throw", "throw text"):
            raise ValueError(value[0])
        if kind == "got":
            return frame.got
        if kind == "promise":
            return self.nested(value[0][0], self.payload(value[0][1], frame.own))
        if kind == "original":
            return frame.args[1](*self.other(value[0], frame))
        return self.payload(end, frame.own)

    def other(self, payload, frame):
        return [self.payload(payload, frame.own)] if payload else []

    # -- steps: what is returned is to be awaited --

    def step(self, step, frame):
        kind, *facts = step
        if kind == "wait":
            return self.wait(facts[0])
        if kind == "turns":
            return self.turns(facts[0], frame)
        if kind == "set":
            if isinstance(frame.own, dict):
                frame.own[facts[0]] = facts[1]
            return None
        if kind == "abort":
            frame.args[1](*facts)
            return None
        if kind == "late abort":
            if self.late is not None:
                self.late()
            return None
        if kind in ("invoke", "spawn"):
            name, payload = facts[0], self.payload(facts[1], frame.own)
            if kind == "spawn":
                return self.spawned(lambda: start_now(self.nested(name, payload)))
            return self.heard(lambda: self.nested(name, payload), facts[2], frame)
        if kind in ("original", "next"):

            def call():
                function = (*frame.args, None)[2 if kind == "next" else 1]  # 1.x gives no `next`
                return function(*self.other(facts[0], frame))

            return self.spawned(call) if facts[1] == "drop" else self.heard(call, facts[1], frame)
        return self.act(kind, facts, frame.own)

    async def wait(self, ticks):
        future = self.loop.create_future()
        heapq.heappush(self.timers, (self.now + ticks, self.numbers, future))
        self.numbers += 1
        await future

    async def turns(self, count, frame):
        for _ in range(count):
            await asyncio.sleep(0)
        self.log.append(["went on", frame.name])

    async def heard(self, call, how, frame):
        try:
            frame.got = await call()
            self.log.append(["got", frame.name, self.view(frame.got)])
        except Exception as error:
            self.log.append(["caught", frame.name, self.failure(error)])
            if how == "raise":
                raise

    async def spawned(self, call):
        number = self.spawns
        self.spawns += 1
        self.tasks.append(call())
        future = self.loop.create_future()
        self.settlers.append((number, future))
        await future

    async def nested(self, name, payload):
        deeper = depth.get() + 1
        if deeper > DEPTH:
            return "too deep"
        token = depth.set(deeper)
        try:
            return await self.actions.invoke(name, payload)
        finally:
            depth.reset(token)

    # -- what a step can do, and the program itself --

    def act(self, kind, facts, own=None):
        actions, functions = self.actions, self.functions
        if kind == "register":
            actions.register(facts[0], functions[facts[1]], None if facts[2] is None else functions[facts[2]])
        elif kind == "replace":
            actions.replace(facts[0], functions[facts[1]])
        elif kind == "listen":
            actions.add_listener(facts[0], functions[facts[1]])
        elif kind == "unlisten":
            actions.remove_listener(facts[0], functions[facts[1]])
        elif kind == "unlisten all":
            actions.remove_all_listeners(facts[0])
        elif kind == "block":
            actions.block(facts[0], self.payload(facts[1], own))
        elif kind == "unblock":
            actions.unblock(facts[0], self.sought(facts[1], own))
        elif kind in ("pending", "blocked"):
            find = actions.find_pending if kind == "pending" else actions.find_blocked
            self.found(kind, find(facts[0], self.sought(facts[1], own)))
        else:
            raise AssertionError(f"no step {kind}")

    def sought(self, spec, own):
        if spec[0] != "where":
            return self.payload(spec, own)
        _, key, value = spec
        return lambda stored, _: isinstance(stored, dict) and self.view(stored.get(key)) == self.view(value)

    def found(self, kind, pairs):
        # Flex gives the first of each action, ours all of them.
        firsts = {}
        for name, payload in pairs:
            firsts.setdefault(name, self.view(payload))
        self.log.append([kind, [[n, p] for n, p in firsts.items()], next(iter(firsts), None)])

    async def main(self):
        number = 0
        for kind, *facts in self.program["ops"]:
            if kind == "invoke":
                self.tasks.append(asyncio.create_task(self.invoke(number, facts[0], self.payload(facts[1]))))
                number += 1
            elif kind == "tick":
                self.tick()
            else:
                try:
                    self.act(kind, facts)
                except Exception as error:
                    self.log.append(["refused", kind, self.failure(error)])
            await self.quiet()
        while self.timers:
            self.tick()
            await self.quiet()
        for kind in ("pending", "blocked"):
            self.act(kind, [self.program["names"], ["none"]])

    async def invoke(self, number, name, payload):
        try:
            self.log.append(["result", number, self.view(await self.actions.invoke(name, payload))])
        except Exception as error:
            self.log.append(["error", number, self.failure(error)])

    def tick(self):
        if self.timers:
            self.now, _, future = heapq.heappop(self.timers)
            future.set_result(None)

    async def quiet(self):
        while True:
            await self.loop.quiet()
            if not self.settlers:
                return
            self.settlers.sort(key=lambda s: s[0])
            self.settlers.pop()[1].set_result(None)


class Frame:
    """One call of a function."""

    def __init__(self, written, args):
        self.name = written["name"]
        self.args = args
        self.own = args[0] if args else None
        self.got = None


def run_program(profile, program, loop):
    """What happened: the log, and what was reported of listeners that failed."""
    run = Run(profile, program, loop)

    def report(sender, invocation, hook, error):
        assert sender is run.actions
        run.reports.append([f"{hook.phase}{invocation.action}", getattr(error, "message", str(error))])

    # From any sender: blinker keeps what was connected to one even after it is disconnected from it.
    signals.hook_failed.connect(report)
    try:
        with capture_logs() as lines:
            loop.run_until_complete(run.main())
    finally:
        signals.hook_failed.disconnect(report)
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.quiet())
    # Of observers there is no signal, and our log lines hold no message.
    observers = [[line["event_name"], None] for line in lines if line["event"] == "observer.failed"]
    return {"log": run.log, "reports": run.reports + observers}
