"""Random programs on the real Flex, in Node, and on `flex1` and `flex2`: what happens, in order, must be the same.

`FLEX_ACTIONS_CONFORMANCE=20` runs twenty times as many, and other ones each time. Needs node and npm, and the network
the first time.
"""

import copy
import io
import json
import os
import tarfile

import pytest
from flex_programs import CountingLoop, run_program
from flex_strategies import NAMES, PLAIN_EVENTS, programs
from hypothesis import HealthCheck, given, note, settings
from real_flex import BUNDLES, Unavailable, fetched, take_out

FACTOR = int(os.environ.get("FLEX_ACTIONS_CONFORMANCE") or 1)


@pytest.fixture(scope="module")
def loop():
    loop = CountingLoop()
    yield loop
    loop.close()


def comparable(found):
    """What happened, with reports in no order: when a failure is written down is a matter of turns.

    Of a failed observer (`invocationBegin`, …) our logs hold no message, so only that it was reported is compared.
    """
    reports = [[event, None if event in PLAIN_EVENTS else text] for event, text in found["reports"]]
    return {"log": found["log"], "reports": sorted(reports, key=str)}


def both(real, program, loop, profile=None):
    theirs = comparable(real.ask("program", program))
    ours = run_program(profile or real.profile, copy.deepcopy(program), loop)
    return theirs, comparable(json.loads(json.dumps(ours)))


@pytest.mark.timeout(600 * FACTOR)
@pytest.mark.parametrize(("mode", "count"), [("ticks", 600), ("turns", 150)])
def test_random_programs_happen_as_on_the_real_dispatcher(real, loop, mode, count):
    @settings(
        max_examples=count * FACTOR,
        deadline=None,
        derandomize=FACTOR == 1,
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(program=programs(real.profile, mode))
    def check(program):
        theirs, ours = both(real, program, loop)
        if theirs != ours:
            note(f"the program as JSON: {json.dumps(program)}")
        assert ours == theirs

    check()


# -- programs that once happened otherwise, or show that the comparison would see it --


def function(name, role, *steps, end=("none",), waits=False):
    return {"name": name, "role": role, "async": waits, "steps": [list(s) for s in steps], "end": list(end)}


def program(functions, *ops):
    return {"names": NAMES, "shared": [{"a": 1}], "functions": functions, "ops": [list(op) for op in ops]}


BODY = function("body", "body", end=("is", "value"))
GO = ("register", "Go", 0, None)
INVOKE = ("invoke", "Go", ["none"])

KNOWN = {
    "of a listener that was added twice the latest is removed": program(
        [BODY, function("one", "before"), function("two", "before")],
        GO,
        ("listen", "beforeGo", 1),
        ("listen", "beforeGo", 2),
        ("listen", "beforeGo", 1),
        ("unlisten", "beforeGo", 1),
        INVOKE,
    ),
    "the action with the empty name has listeners too": program(
        [BODY, function("before", "before"), function("after", "after")],
        ("register", "", 0, None),
        ("listen", "before", 1),
        ("listen", "after", 2),
        ("invoke", "", ["none"]),
    ),
    "an observer that rejects is reported": program(
        [
            BODY,
            function("at once", "event", end=("throw", "oops"), waits=True),
            function("later", "event", ["wait", 1], end=("throw", "oops"), waits=True),
        ],
        GO,
        ("listen", "invocationBegin", 1),
        ("listen", "invocationEnd", 2),
        INVOKE,
    ),
    "an abort of a nested action leaves the outer body as an action error": program(
        [function("body", "body", end=("promise", ["Do", ["none"]])), BODY, function("before", "before", ["abort"])],
        GO,
        ("register", "Do", 1, None),
        ("listen", "beforeDo", 2),
        INVOKE,
    ),
    "a plain body that raises does so where original is called, awaited or not": program(
        [
            function("body", "body", end=("throw", "oops")),
            function("replace", "replace", ["original", None, "drop"], waits=True),
        ],
        GO,
        ("replace", "Go", 1),
        INVOKE,
    ),
    "an async body that raises is not heard of if original is not awaited": program(
        [
            function("body", "body", end=("throw", "oops"), waits=True),
            function("replace", "replace", ["original", None, "drop"], waits=True),
        ],
        GO,
        ("replace", "Go", 1),
        INVOKE,
    ),
}


@pytest.mark.parametrize("title", KNOWN)
def test_a_program_that_once_happened_otherwise(real, loop, title):
    theirs, ours = both(real, KNOWN[title], loop)
    assert ours == theirs


def test_the_comparison_tells_the_two_packages_apart(real, loop):
    """Of two replacements 1.x runs the last, 2.x both: what the other profile does must not pass."""
    chained = program(
        [
            BODY,
            function("old", "replace", end=("original", None)),
            function("new", "replace", ["next", None, "catch"], waits=True),
        ],
        GO,
        ("replace", "Go", 1),
        ("replace", "Go", 2),
        INVOKE,
    )
    theirs, ours = both(real, chained, loop)
    assert ours == theirs
    _, others = both(real, chained, loop, "flex2" if real.profile == "flex1" else "flex1")
    assert others != theirs


def test_the_comparison_sees_what_is_reported_and_what_the_order_was(real, loop):
    observed = program(
        [BODY, function("before", "before", end=("throw", "oops"), waits=True), function("event", "event")],
        GO,
        ("listen", "beforeGo", 1),
        ("listen", "invocationBegin", 2),
        INVOKE,
    )
    theirs, ours = both(real, observed, loop)
    assert ours == theirs
    assert [entry[1] for entry in theirs["log"] if entry[0] == "call"] == ["event", "before", "body"]
    assert theirs["reports"] == [["beforeGo", "oops"]]


# -- the packages --


def test_another_package_than_the_pinned_one_is_never_used(tmp_path):
    bundle = BUNDLES["flex1"]
    packed, path = tmp_path / "x.tgz", tmp_path / "bundle.js"
    with tarfile.open(packed, "w:gz") as archive:
        member = tarfile.TarInfo(bundle.member)
        archive.addfile(member, io.BytesIO())
    with pytest.raises(Unavailable, match="not the one that was pinned"):
        take_out(bundle, packed, path)
    assert not path.exists()


def test_without_npm_it_is_said_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("FLEX_ACTIONS_CONFORMANCE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(Unavailable, match="npm is not installed"):
        fetched("flex1")
