"""The order of hooks, what a function may take, and how events are named."""

import functools
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flex_actions import Actions, RegistrationError
from flex_actions.hooks import Hook, arity_of, function_name, in_order, parse_event


def table():
    actions = Actions()
    actions.register("Go", lambda: None)
    return actions


def add(actions, name, **options):
    """A before hook of a plugin, both of that name."""

    def hook(payload):
        pass

    hook.__qualname__ = name
    return actions.owned(name).before("Go", hook, **options)


def order(actions):
    return [h.plugin for h in actions.hooks_of("Go")]


def test_hooks_run_in_the_order_registered():
    actions = table()
    for name in "bac":
        add(actions, name)
    assert order(actions) == ["b", "a", "c"]


def test_a_higher_priority_runs_earlier_and_equals_keep_their_order():
    actions = table()
    for name, priority in [("a", 0), ("b", 5), ("c", -5), ("d", 5), ("e", 0)]:
        add(actions, name, priority=priority)
    assert order(actions) == ["b", "d", "a", "e", "c"]


def test_run_before_and_run_after_precede_priority():
    actions = table()
    add(actions, "late", priority=100, run_after="early")
    add(actions, "early", priority=-100)
    add(actions, "first", priority=-200, run_before=["early", "late"])
    assert order(actions) == ["first", "early", "late"]


def test_a_plugin_that_is_missing_is_ignored_and_counts_once_it_comes():
    actions = table()
    add(actions, "a", run_after="b")
    assert order(actions) == ["a"]
    add(actions, "b")
    assert order(actions) == ["b", "a"]


def test_a_wish_concerns_all_hooks_of_the_named_plugin():
    actions = table()
    billing = actions.owned("billing")
    billing.before("Go", lambda: 1)
    billing.before("Go", lambda: 2)
    add(actions, "first", run_before="billing")
    assert order(actions) == ["first", "billing", "billing"]


def test_several_hooks_of_one_plugin_that_name_their_own_plugin_do_not_wait_for_themselves():
    actions = table()
    add(actions, "a", run_before="a")
    assert order(actions) == ["a"]


def test_a_cycle_is_an_error_that_names_the_hooks_and_leaves_the_table_unchanged():
    actions = table()
    add(actions, "a", run_before="b")
    add(actions, "b", run_before="c")
    with pytest.raises(RegistrationError, match="cycle") as caught:
        add(actions, "c", run_before="a")
    assert "a: a" in caught.value.message
    assert order(actions) == ["a", "b"]


def test_a_hook_that_leaves_takes_its_influence_on_the_order_along():
    actions = table()
    add(actions, "a")
    add(actions, "c")
    handle = add(actions, "b", run_before="a")
    assert order(actions) == ["c", "b", "a"]
    handle.remove()
    assert order(actions) == ["a", "c"]


def test_guards_after_abort_and_error_hooks_are_ordered_alike():
    actions = table()
    for event, guard in [("beforeGo", True), ("afterGo", False), ("abortGo", False), ("errorGo", False)]:
        for name, priority in [("low", 0), ("high", 1)]:
            actions.owned(name).add_listener(event, lambda: None, guard=guard, priority=priority)
    assert order(actions) == ["high", "low"] * 4


def test_replacements_are_listed_newest_first():
    actions = table()
    for name in "ab":
        actions.owned(name).replace("Go", lambda: None)
    assert order(actions) == ["b", "a"]


plugins = st.sampled_from("abcd")
wishes = st.builds(
    dict,
    plugin=plugins,
    priority=st.integers(-1, 1),
    run_before=st.lists(plugins, max_size=2),
    run_after=st.lists(plugins, max_size=2),
)


@given(st.lists(wishes, max_size=6), st.randoms(use_true_random=False))
def test_every_wish_holds_or_it_is_a_cycle_and_the_order_does_not_depend_on_how_it_came_about(options, random):
    hooks = [Hook(print, "before", "Go", **o) for o in options]
    try:
        ordered = in_order(hooks)
    except RegistrationError:
        return
    place = {hook: i for i, hook in enumerate(ordered)}
    assert set(ordered) == set(hooks)
    for hook, other in itertools.permutations(hooks, 2):
        if other.plugin in hook.run_before or hook.plugin in other.run_after:
            assert place[hook] < place[other]
    shuffled = random.sample(hooks, len(hooks))
    assert in_order(shuffled) == ordered


@given(st.lists(st.integers(-2, 2)))
def test_without_wishes_the_order_is_priority_then_registration(priorities):
    hooks = [Hook(print, "before", "Go", priority=p) for p in priorities]
    assert list(in_order(hooks)) == sorted(hooks, key=lambda h: -h.priority)


# -- what a function may take --


class Callable:
    def __call__(self, payload):
        pass

    def method(self, payload, abort):
        pass


@pytest.mark.parametrize(
    ("function", "arity"),
    [
        (lambda: None, 0),
        (lambda payload: None, 1),
        (lambda payload, abort: None, 2),
        (lambda p, /, a: None, 2),
        (lambda *args: None, 2),
        (lambda payload, *, strict=True: None, 1),
        (lambda payload, limit=10: None, 1),
        (lambda payload, abort=None: None, 2),
        (lambda payload, **more: None, 1),
        (Callable(), 1),
        (Callable().method, 2),
        (functools.partial(lambda extra, payload: None, 1), 1),
    ],
)
def test_a_before_hook_gets_as_much_as_it_takes_and_its_own_defaults_stay(function, arity):
    assert arity_of(function, "before", event="beforeGo") == arity


@pytest.mark.parametrize("function", [lambda a, b, c: None, lambda *, needed: None, 7, None, "text"])
def test_a_function_that_needs_what_is_not_offered_is_refused(function):
    with pytest.raises(RegistrationError, match="beforeGo"):
        arity_of(function, "before", event="beforeGo")


def test_the_refusal_shows_the_signature_to_write():
    def check_size(payload, abort, session):
        pass

    with pytest.raises(RegistrationError) as caught:
        arity_of(check_size, "before", event="beforeGo")
    assert "def check_size(payload, abort)" in caught.value.hint


async def test_a_function_is_called_with_no_more_than_it_takes():
    seen, actions = [], table()
    actions.before("Go", lambda: seen.append("nothing"))
    actions.before("Go", lambda payload, limit=10: seen.append((payload, limit)))
    await actions.invoke("Go", "p")
    assert seen == ["nothing", ("p", 10)]


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Callable().method, "Callable.method"),
        (Callable(), "Callable"),
        (functools.partial(order, 1), "order"),
        (lambda: None, "<lambda>"),
    ],
)
def test_a_hook_has_a_name_for_people(function, name):
    assert function_name(function) == name


@pytest.mark.parametrize(
    ("event", "parsed"),
    [
        ("beforeGo", ("before", "Go")),
        ("afterGo", ("after", "Go")),
        ("abortGo", ("abort", "Go")),
        ("errorGo", ("error", "Go")),
        ("invocationBegin", ("event", "")),
        ("invocationEnd", ("event", "")),
        ("actionBlockedChanged", ("event", "")),
        ("before", None),
        ("Go", None),
        ("", None),
    ],
)
def test_an_event_names_its_phase_and_action(event, parsed):
    assert parse_event(event) == parsed
