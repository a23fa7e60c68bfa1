"""The payload as a guard sees it."""

from collections import UserDict

import attrs
import pytest

from flex_actions.readonly import read_only


@attrs.define
class Inner:
    numbers: list = attrs.field(factory=lambda: [1])


@attrs.define
class Payload:
    text: str = "a"
    inner: Inner = attrs.field(factory=Inner)

    def shout(self):
        return self.text.upper()


@attrs.define(eq=False)
class Hashable:
    text: str = "a"


@attrs.frozen(eq=False)
class Frozen:
    text: str = "a"


@pytest.mark.parametrize("value", [None, 1, "a", b"a", (1, 2), frozenset({1})])
def test_what_cannot_be_changed_is_the_same(value):
    assert read_only(value) == value


def test_a_frozen_object_is_itself_so_that_identity_still_says_something():
    frozen = Frozen()
    assert read_only(frozen) is frozen


@pytest.mark.parametrize("payload", [Payload(), Hashable()])
def test_an_object_shows_its_attributes_and_refuses_to_set_or_delete_any(payload):
    view = read_only(payload)
    assert (view.text, isinstance(view, type(payload)), repr(view)) == ("a", True, repr(payload))
    with pytest.raises(AttributeError, match="use a before hook"):
        view.text = "b"
    with pytest.raises(AttributeError, match="use a before hook"):
        del view.text
    assert payload.text == "a"


def test_methods_work():
    assert read_only(Payload()).shout() == "A"


@pytest.mark.parametrize("mapping", [{"a": {"b": [1]}}, UserDict(a={"b": [1]})])
def test_mappings_are_read_only_all_the_way_down(mapping):
    view = read_only(mapping)
    with pytest.raises(TypeError):
        view["a"] = 1
    with pytest.raises(TypeError):
        view["a"]["b"] = 1
    with pytest.raises(TypeError):
        view["a"]["b"].append(2)
    assert view["a"]["b"] == [1]


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([{"a": 1}], list),
        (([1],), tuple),
        ({1}, frozenset),
        (bytearray(b"a"), bytes),
    ],
)
def test_collections_compare_as_before_and_cannot_be_changed(value, kind):
    view = read_only(value)
    assert (view == value, isinstance(view, kind)) == (True, True)


def test_attributes_of_attributes_are_read_only_too():
    view = read_only(Payload())
    assert view.inner.numbers == [1]
    with pytest.raises(AttributeError):
        view.inner.numbers = []
