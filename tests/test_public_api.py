"""The front door: what `flex_actions` exports, and that all of it says what it is."""

import importlib.metadata
import importlib.resources
import inspect
import types

import pytest

import flex_actions
import flex_actions.testing


def public(owner):
    """The public names that a module shows, without the modules behind it."""
    found = {n for n, value in vars(owner).items() if not n.startswith("_") and not isinstance(value, types.ModuleType)}
    return found | ({"signals"} if hasattr(owner, "signals") else set())


def exported():
    for owner in (flex_actions, flex_actions.testing):
        for name in owner.__all__:
            yield pytest.param(getattr(owner, name), id=f"{owner.__name__}.{name}")


def methods():
    """Every public method and property of the exported classes, from wherever it is inherited among ours."""
    for name in flex_actions.__all__:
        cls = getattr(flex_actions, name)
        if inspect.isclass(cls):
            for base in cls.__mro__:
                if base.__module__.startswith("flex_actions"):
                    for member, value in vars(base).items():
                        if not member.startswith("_") and _is_callable(value):
                            yield pytest.param(getattr(cls, member), value, id=f"{name}.{member}")


def _is_callable(value):
    return inspect.isfunction(value) or isinstance(value, (property, classmethod, staticmethod))


@pytest.mark.parametrize("module", [flex_actions, flex_actions.testing], ids=lambda m: m.__name__)
def test_all_is_sorted_and_complete(module):
    """Constants, then classes, then functions and modules."""
    in_order = sorted(module.__all__, key=lambda n: (not n.isupper(), n[0].islower(), n))
    assert (module.__all__, set(module.__all__)) == (in_order, public(module))


@pytest.mark.parametrize("value", list(exported()))
def test_an_exported_name_says_what_it_is(value):
    if inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)
        assert not inspect.getdoc(value).startswith(f"{getattr(value, '__name__', '')}(")  # made up by the interpreter


@pytest.mark.parametrize(("bound", "defined"), list(methods()))
def test_a_public_method_says_what_it_does(bound, defined):
    assert inspect.getdoc(bound if inspect.isroutine(bound) else defined)


def test_the_version_is_that_of_the_distribution():
    assert flex_actions.__version__ == importlib.metadata.version("flex-actions")


def test_the_command_line_is_an_entry_point():
    [script] = importlib.metadata.entry_points(group="console_scripts", name="flex-actions")
    assert script.load().name == "flex-actions"


def test_the_types_are_there_for_callers():
    assert all(
        importlib.resources.files(p).joinpath("py.typed").is_file() for p in ("flex_actions", "flex_actions_plugins")
    )
