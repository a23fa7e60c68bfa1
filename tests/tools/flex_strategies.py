"""Random programs (see `flex_programs.py`) whose outcome does not hang on the turns of one language's event loop.

Left out, because only JavaScript has it: what runs before a call that nobody awaits returns to its caller, hence a
plain function that starts one; payloads that are null, lists or NaN; bodies that are no functions; thrown undefined.
"""

import functools

from hypothesis import strategies as st

NAMES = ["Go", "Do", "Up", ""]
KEYS = ("a", "b", "c")
VALUES = ("x", "", 1, 2, 1.5, 0, True, False)
MESSAGES = ("oops", "no", "Zoë: “?”")
PLAIN_EVENTS = ("invocationBegin", "invocationEnd", "actionBlockedChanged")

_count = functools.cache(st.integers)


class Maker:
    """Draws the parts of one program. Plain code over two kinds of draws: strategies of strategies took 80 ms each.

    The first of several choices is what a failing program is reduced to.
    """

    def __init__(self, draw, profile, mode):
        self.draw = draw
        self.profile = profile
        self.mode = mode
        self.listened = []  # so that what is removed was often added, and some of it twice
        self.roles = ("body", "body", "before", "before", "after", "replace", "replace", "update", "event")
        self.roles += tuple(self.one("body", "before", "before", "after", "replace") for _ in range(draw(_count(0, 3))))

    def one(self, *choices):
        return choices[self.draw(_count(0, len(choices) - 1))]

    def several(self, least, most, make):
        return [make() for _ in range(self.draw(_count(least, most)))]

    # -- values --

    def name(self):
        return self.one("Go", "Go", "Go", "Do", "Do", "Up", "")

    def fields(self):
        # Few values, so that payloads often match.
        return {key: self.one(1, 2, 1, 2, True, "x", None) for key in KEYS if self.one(False, True)}

    def payload(self, own=False):
        kind = self.one("none", "shared", "shared", "is", "new", *["own"] * 3 * own)
        if kind == "is":
            return [kind, self.one(*VALUES)]
        if kind == "new":
            return [kind, self.fields()]
        if kind == "shared":
            return [kind, self.one(0, 1, 2)]
        return [kind]

    def sought(self):
        if self.one(True, True, True, False):
            return self.payload()
        return ["where", self.one(*KEYS), self.one(1, 2, True)]

    def function_of(self, *roles):
        return self.one(*(i for i, role in enumerate(self.roles) if role in roles))

    # -- ops --

    def op(self):
        """What a program and its functions can do at once."""
        kinds = ["listen"] * 3 + ["unlisten"] * 2 + ["block", "unblock", "pending", "blocked", "replace", "register"]
        if self.profile == "flex1":
            kinds.append("unlisten all")
        kind = self.one(*kinds)
        if kind in ("listen", "unlisten"):
            return self.listener_op(kind)
        if kind == "register":
            return self.register(self.name())
        if kind == "replace":
            return [kind, self.name(), self.function_of("replace")]
        if kind == "block":
            return [kind, self.name(), self.payload()]
        if kind == "unblock":
            return [kind, self.name(), self.sought()]
        if kind == "unlisten all":
            return [kind, self.one("beforeGo", "afterGo", "invocationEnd", "beforeDo", None)]
        return [kind, self.one(["Go"], NAMES, ["Do", "Go"], [""]), self.sought()]

    def listener_op(self, kind, crowd=None):
        if crowd is not None:
            op = [kind, f"{crowd}Go", self.function_of(crowd)]
            self.listened.append(op[1:])
            return op
        if self.listened and self.one(False, False, kind == "unlisten", True):
            return [kind, *self.one(*self.listened)]
        op = self.new_listener_op(kind)
        self.listened.append(op[1:])
        return op

    def new_listener_op(self, kind):
        number = self.function_of("before", "before", "after", "event")
        role = self.roles[number]
        return [kind, self.one(*PLAIN_EVENTS) if role == "event" else role + self.name(), number]

    def register(self, name):
        update = self.function_of("update") if self.one(False, False, True) else None
        return ["register", name, self.function_of("body"), update]

    # -- functions --

    def function(self, number):
        role = self.roles[number]
        may_wait = role != "update" and (role != "event" or self.mode == "ticks")
        is_async = may_wait and self.one(False, True)
        steps = self.several(0, 4, lambda: self.step(role, is_async))
        return {
            "name": f"{role}{number}",
            "role": role,
            "async": is_async,
            "steps": _one_chain_at_a_time(role, steps),
            "end": self.end(role, is_async),
        }

    def step(self, role, is_async):
        kinds = ["set"]
        if role == "before":
            kinds += ["abort", "abort"]
        if role != "update":
            kinds += ["late abort", "op"]
        if is_async:
            kinds += ["wait"] * 3
            if self.mode == "ticks":
                kinds += ["invoke", "invoke", "spawn"]
            if role == "replace":
                kinds += ["original"] * 4
        kind = self.one(*kinds)
        if kind == "set":
            return [kind, self.one(*KEYS), self.one(1, 2, "x", None)]
        if kind == "op":
            return self.op()
        if kind == "wait":
            return [kind, self.one(1, 2, 3)] if self.mode == "ticks" else ["turns", self.one(0, 1, 2, 3)]
        if kind == "abort":
            return self.one([kind], [kind, "why"])
        if kind == "invoke":
            return [kind, self.name(), self.payload(own=True), self.one("catch", "raise")]
        if kind == "spawn":
            return [kind, self.name(), self.payload(own=True)]
        if kind == "original":
            return self.call_of_original()
        return [kind]

    def call_of_original(self):
        which = self.one("original", "next") if self.profile == "flex2" else "original"
        how = self.one("catch", "raise", *["drop"] * (self.mode == "ticks"))
        return [which, self.one(None, self.payload(own=True)), how]

    def end(self, role, is_async):
        kinds = ["return"] * 3
        if role == "update":
            return self.one(["own"], ["own"], ["own"], self.payload(), ["throw", self.one(*MESSAGES)])
        if role == "event" and not is_async:
            kinds *= 5  # one that raises leaves the action pending for ever; not in every program
        if is_async or self.mode == "ticks" or role in ("body", "replace"):
            kinds += ["throw", "throw text"]
        if role in ("body", "replace"):
            kinds += ["got", *["promise"] * (self.mode == "ticks"), *["original"] * 4 * (role == "replace")]
        kind = self.one(*kinds)
        if kind in ("throw", "throw text"):
            return [kind, self.one(*MESSAGES)]
        if kind == "promise":
            return [kind, [self.name(), self.payload(own=True)]]
        if kind == "original":
            return [kind, self.one(None, self.payload(own=True))]
        return self.payload(own=True) if kind == "return" else [kind]

    # -- programs --

    def program(self):
        functions = [self.function(n) for n in range(len(self.roles))]
        begin = [self.register("Go"), *self.several(0, 2, lambda: self.register(self.name()))]
        begin += self.several(0, 2, lambda: ["replace", self.name(), self.function_of("replace")])
        # Half of the programs begin with a crowd at one event, where order and copies tell.
        crowd = self.one(None, None, "before", "after")
        begin += self.several(0, 5, lambda: self.listener_op("listen", crowd))
        return {
            "names": NAMES,
            "shared": [self.fields() for _ in range(3)],
            "functions": functions,
            "ops": begin + self.several(1, 12, self.next_op),
        }

    def next_op(self):
        kind = self.one("invoke", "invoke", "op", "op", "tick")
        if kind == "op":
            return self.op()
        return [kind, self.name(), self.payload()] if kind == "invoke" else [kind]


def _one_chain_at_a_time(role, steps):
    """Listeners run side by side; a call that one of them awaits would run step by step with those of its siblings.

    How many turns each step takes is a matter of the language, so such a call begins after a tick, when nothing else
    runs. (In bodies and replacements nothing runs beside them.)
    """
    if role not in ("before", "after", "event"):
        return steps
    found, waited = [], False
    for step in steps:
        if step[0] in ("invoke", "spawn") and not waited:
            found.append(["wait", 1])
        waited = waited or step[0] in ("wait", "invoke", "spawn")
        found.append(step)
    return found


@st.composite
def programs(draw, profile, mode="ticks"):
    """Programs for one profile.

    Args:
        profile: `flex1` or `flex2`.
        mode: `ticks`: functions wait for counted time, calls nest and overlap; `turns`: they wait for turns of the
            event loop, one call at a time, and none nests.
    """
    return Maker(draw, profile, mode).program()
