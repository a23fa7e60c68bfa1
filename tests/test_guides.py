"""The guides tell all there is and nothing that is not."""

import inspect
import itertools
import re
from pathlib import Path
from typing import get_args

import attrs
import pytest

import flex_actions
from flex_actions import CODES, Actions, Session, signals
from flex_actions.cli import exits, main
from flex_actions.message_input import describe
from flex_actions.payloads import PAYLOADS, keys_of
from flex_actions.plugin_loader import Plugins
from flex_actions.ports import EventType

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PLUGINS = ROOT / "plugins/README.md"
EXAMPLES = ROOT / "examples/README.md"
GUIDES = [README, PLUGINS, EXAMPLES, ROOT / "tests/README.md"]


def read(guide):
    return guide.read_text(encoding="utf-8")


def rows(facts):
    return "|  |  |\n|---|---|\n" + "".join(f"| `{name}` | {text} |\n" for name, text in facts)


# What stands between markers in the plugin guide is the code's own.
TABLES = {
    "message input": describe() + "\n",
    "signals": rows((name, s.__doc__) for name, s in signals.SIGNALS.items()),
    "codes": rows(CODES.items()),
}


def with_tables(text):
    for name, table in TABLES.items():
        marked = rf"(^<!-- {name}: .*? -->\n).*?(^<!-- end -->$)"
        text, found = re.subn(marked, lambda m, t=table: m[1] + t + m[2], text, flags=re.MULTILINE | re.DOTALL)
        assert found == 1, name
    return text


def section(action):
    return re.search(rf"^### {action}\n(.*?)(?=^##)", read(PLUGINS), re.MULTILINE | re.DOTALL)


def prose(guide):
    return re.sub(r"```.*?```|`[^`]*`", "", read(guide), flags=re.DOTALL)


def anchors(guide):
    headings = re.findall(r"^#+ (.*)$", prose(guide), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings}


def links():
    for guide in GUIDES:
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(guide)):
            yield pytest.param(guide, target, id=f"{guide.relative_to(ROOT)}:{target}")


def test_the_tables_of_the_plugin_guide_are_the_code_s_own():
    """`python tests/test_guides.py` writes them anew."""
    assert read(PLUGINS) == with_tables(read(PLUGINS))


@pytest.mark.parametrize("action", PAYLOADS)
def test_an_action_has_its_section_with_all_keys(action):
    told = section(action)[1].split("→")[0]
    shown = {key: f"[`{key}`]" not in told for key in re.findall(r"`(\w+)`", told)}
    assert shown == keys_of(PAYLOADS[action])


@pytest.mark.parametrize("action", PAYLOADS)
def test_an_action_s_section_names_only_real_errors(action):
    assert set(re.findall(r"`([a-z]+_[a-z_]+)`", section(action)[1].partition("Errors:")[2])) <= set(CODES)


@pytest.mark.parametrize(("guide", "target"), list(links()))
def test_a_link_leads_somewhere(guide, target):
    path, _, anchor = target.partition("#")
    file = (guide.parent / path).resolve() if path else guide
    assert file.exists()
    assert not anchor or anchor in anchors(file)


def table(name):
    """The rows between two markers of the examples' guide, as lists of cells, without the head."""
    found = re.search(rf"^<!-- {name}: .*? -->\n(.*?)^<!-- end -->$", read(EXAMPLES), re.MULTILINE | re.DOTALL)
    return [line.strip("| ").split(" | ") for line in found[1].splitlines()[2:]]


def signature(function):
    """A call as the guide shows it: without `self`, types and what is private."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    shown = [p.replace(annotation=p.empty) for p in parameters if not p.name.startswith("_")]
    return str(inspect.Signature(shown)).replace("'", '"')


def public(cls, prefix=""):
    for name, function in vars(cls).items():
        if not name.startswith("_") and inspect.isfunction(function):
            yield f"{prefix}{name}{signature(function)}"


def test_the_table_of_a_session_has_every_method_as_it_is():
    told = {row[0].strip("`") for row in table("session")}
    methods = {m for m in public(Plugins, "plugins.") if re.match(r"plugins\.(un)?load\(", m)}
    assert told == {*public(Session), *methods, "plugins.names", "actions.invoke" + signature(Actions.invoke)}


def test_the_table_of_records_has_every_field():
    for name, fields in table("records"):
        cls = getattr(flex_actions, name.strip("`"))
        there = [f.name for f in attrs.fields(cls)] + [n for n, v in vars(cls).items() if isinstance(v, property)]
        told = re.sub(r" \(.*?\)", "", fields)
        assert re.findall(r"`(\w+)`", told) == there, name


def test_the_table_of_events_has_every_type():
    told = [kind for row in table("events") for kind in re.findall(r"`(\w+)`", row[0])]
    assert sorted(told) == sorted(get_args(EventType))


def test_the_readme_has_every_command():
    told = set(re.findall(r"\b[a-z-]+\b", read(README).partition("| command |")[2].partition("\n\n")[0]))
    groups = (main.commands[name].commands for name in ("channel", "store"))
    assert {*main.commands, *itertools.chain(*groups)} <= told


def test_the_readme_has_every_exit_code():
    told = read(README).partition("| exit code |")[2]
    assert all(f"| {code} | {meaning} |\n" in told for code, meaning in exits.MEANINGS.items())


if __name__ == "__main__":
    PLUGINS.write_text(with_tables(read(PLUGINS)), encoding="utf-8")
