"""Plugins: one `setup(plugin)`, once a session; what it registers leaves with it."""

import contextlib
import sys
import textwrap

import attrs
import pytest
from structlog.testing import capture_logs

from flex_actions import Notification, RegistrationError, connect, signals
from flex_actions.plugin_loader import find_setup, installed_plugins


def say(session, channel, body="hi"):
    return session.actions.invoke("SendMessage", {"body": body, "channelSid": channel})


def hooks(session):
    return [str(h) for name in session.actions.names for h in session.actions.hooks_of(name)]


def polite(plugin):
    @plugin.actions.before("SendMessage")
    def add_please(payload):
        payload.body += ", please"


# Every way to write one


@pytest.mark.parametrize("kind", ["plain", "async", "context manager", "async context manager", "async generator"])
async def test_setup_may_be_written_in_any_of_these_ways(ada, kind):
    log = []

    def plain(plugin):
        log.append("in")

    async def coroutine(plugin):
        log.append("in")

    @contextlib.contextmanager
    def manager(plugin):
        log.append("in")
        yield
        log.append("out")

    @contextlib.asynccontextmanager
    async def async_manager(plugin):
        log.append("in")
        yield
        log.append("out")

    async def generator(plugin):
        log.append("in")
        yield
        log.append("out")

    setups = [plain, coroutine, manager, async_manager, generator]
    names = ["plain", "async", "context manager", "async context manager", "async generator"]
    setup = setups[names.index(kind)]
    name = await ada.plugins.load(setup)
    assert (log, ada.plugins.names) == (["in"], [setup.__name__])
    await ada.plugins.unload(name)
    assert (log, ada.plugins.names) == (["in", "out"] if kind in names[2:] else ["in"], [])


async def test_setup_may_be_a_plain_generator(ada):
    log = []

    def generator(plugin):
        log.append("in")
        yield
        log.append("out")

    await ada.plugins.load(generator)
    assert log == ["in"]
    await ada.plugins.unload("generator")
    assert log == ["in", "out"]


async def test_plugins_are_loaded_in_order_and_unloaded_newest_first(backend):
    log = []

    def named(name):
        async def setup(plugin):
            log.append(f"{name} in")
            yield
            log.append(f"{name} out")

        setup.__qualname__ = setup.__name__ = name
        return setup

    async with connect(backend, identity="ada", plugins=[named("one"), named("two")]) as session:
        assert session.plugins.names == ["one", "two"]
    assert log == ["one in", "two in", "two out", "one out"]


async def test_each_session_sets_its_plugins_up_for_itself(backend, channel):
    async with (
        connect(backend, identity="ada", plugins=[polite]) as with_it,
        connect(backend, identity="ada") as without,
    ):
        await say(with_it, channel)
        await say(without, channel)
        assert [m.body for m in await without.messages(channel)] == ["hi, please", "hi"]


# What it owns


async def test_unloading_removes_everything_that_a_plugin_registered(ada, channel, refused):
    def everything(plugin):
        plugin.actions.before("SendMessage", lambda payload: None)
        plugin.actions.guard("SendMessage", lambda payload: None)
        plugin.actions.after("SendMessage", lambda payload: None)
        plugin.actions.add_listener("invocationBegin", lambda: None)
        plugin.actions.replace("SendMessage", lambda payload, original: original())
        plugin.actions.register("Wave", lambda payload: "o/")
        plugin.actions.block("SendTyping")

    await ada.plugins.load(everything)
    assert (len(hooks(ada)), await ada.actions.invoke("Wave")) == (4, "o/")
    await ada.plugins.unload("everything")
    assert (hooks(ada), ada.actions.find_blocked(), "Wave" in ada.actions.names) == ([], [], False)
    with refused("unknown_action"):
        await ada.actions.invoke("Wave")


async def test_what_others_registered_stays(ada, channel):
    ada.actions.before("SendMessage", lambda payload: setattr(payload, "body", payload.body + "!"))
    await ada.plugins.load(polite)
    await ada.plugins.unload("polite")
    await say(ada, channel)
    assert [m.body for m in await ada.messages(channel)] == ["hi!"]


async def test_a_plugin_can_be_loaded_again(ada, channel):
    for _ in range(3):
        await ada.plugins.load(polite)
        await ada.plugins.unload("polite")
    await ada.plugins.load(polite)
    await say(ada, channel)
    assert [m.body for m in await ada.messages(channel)] == ["hi, please"]


async def test_what_it_registers_after_it_was_unloaded_does_not_stay(ada, refused):
    kept = []
    await ada.plugins.load(kept.append, name="late")
    await ada.plugins.unload("late")
    with refused("invalid_registration"):
        kept[0].actions.before("SendMessage", lambda payload: None)
    assert hooks(ada) == []


async def test_hooks_bear_their_plugins_name(ada):
    await ada.plugins.load(polite)
    assert hooks(ada) == ["polite: polite.add_please"]


async def test_a_plugins_failure_names_it(ada, channel, refused):
    def broken(plugin):
        @plugin.actions.before("SendMessage")
        def boom(payload):
            raise ValueError("oops")

    await ada.plugins.load(broken)
    with refused("hook_failed") as caught:
        await say(ada, channel)
    assert caught.value.hook.startswith("broken: ")
    assert caught.value.hook.endswith("boom")


# A setup that fails


@pytest.mark.parametrize("kind", ["plain", "async", "generator"])
async def test_a_setup_that_fails_leaves_nothing(ada, kind):
    def plain(plugin):
        polite(plugin)
        raise ValueError("no config")

    async def coroutine(plugin):
        plain(plugin)

    async def generator(plugin):
        plain(plugin)
        yield

    setup = {"plain": plain, "async": coroutine, "generator": generator}[kind]
    with pytest.raises(RegistrationError, match="no config") as caught:
        await ada.plugins.load(setup)
    assert isinstance(caught.value.__cause__, ValueError)
    assert (hooks(ada), ada.plugins.names) == ([], [])


async def test_a_session_does_not_begin_with_a_plugin_that_fails(backend):
    log = []

    async def good(plugin):
        yield
        log.append("closed")

    def bad(plugin):
        raise ValueError

    with pytest.raises(RegistrationError):
        async with connect(backend, identity="ada", plugins=[good, bad]):
            pytest.fail("it began")
    assert log == ["closed"]


async def test_a_plugin_that_fails_on_its_way_out_does_not_keep_the_others(backend):
    log = []

    async def first(plugin):
        yield
        log.append("closed")

    async def second(plugin):
        yield
        raise ValueError("stuck")

    with capture_logs() as logs:
        async with connect(backend, identity="ada", plugins=[first, second]) as session:
            pass
    assert (log, session.plugins.names) == (["closed"], [])
    assert [(entry["event"], entry["plugin"]) for entry in logs] == [("plugin.unload_failed", "second")]


# Names and clashes


async def test_a_name_is_taken_once(ada):
    await ada.plugins.load(polite)
    with pytest.raises(RegistrationError, match="loaded already"):
        await ada.plugins.load(polite)
    assert len(hooks(ada)) == 1


async def test_a_plugin_may_be_given_another_name(ada):
    await ada.plugins.load(polite, name="courteous")
    assert (ada.plugins.names, hooks(ada)) == (["courteous"], ["courteous: polite.add_please"])


async def test_unloading_what_is_not_loaded_names_the_nearest(ada):
    await ada.plugins.load(polite)
    with pytest.raises(RegistrationError) as caught:
        await ada.plugins.unload("pollite")
    assert "'polite'" in caught.value.hint


@pytest.mark.parametrize("source", [5, None, b"polite", ["polite"]])
async def test_what_is_no_plugin(ada, source):
    with pytest.raises(RegistrationError):
        await ada.plugins.load(source)


# Entry points and files


@pytest.fixture
def install(tmp_path, monkeypatch):
    """`install("dist", "name = module:setup", module="…")`: a distribution that Python finds."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    modules = []

    def install(dist, point, **sources):
        info = site / f"{dist.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[flex_actions.plugins]\n{point}\n")
        for module, source in sources.items():
            (site / f"{module}.py").write_text(textwrap.dedent(source))
            modules.append(module)

    yield install
    for module in modules:
        sys.modules.pop(module, None)


SHOUTS = """
    def setup(plugin):
        @plugin.actions.before("SendMessage")
        def shout(payload):
            payload.body = payload.body.upper()
"""


async def test_an_installed_plugin_is_loaded_by_its_name(ada, channel, install):
    install("flex-actions-shouts", "shouts = flex_shouts:setup", flex_shouts=SHOUTS)
    assert await ada.plugins.load("shouts") == "shouts"
    await say(ada, channel)
    assert [m.body for m in await ada.messages(channel)] == ["HI"]


async def test_a_plugin_that_is_not_loaded_is_not_imported(ada, install):
    install("flex-actions-shouts", "shouts = flex_shouts:setup", flex_shouts="raise RuntimeError")
    assert "shouts" in installed_plugins()
    assert "flex_shouts" not in sys.modules


async def test_a_plugin_that_cannot_be_imported_is_named(ada, install):
    install("flex-actions-shouts", "shouts = flex_shouts:setup", flex_shouts="import not_there_at_all")
    with pytest.raises(RegistrationError, match=r"shouts cannot be imported: ModuleNotFoundError"):
        await ada.plugins.load("shouts")


async def test_two_distributions_with_one_name_are_both_named(ada, install):
    install("flex-actions-one", "shouts = flex_one:setup", flex_one=SHOUTS)
    install("flex-actions-two", "shouts = flex_two:setup", flex_two=SHOUTS)
    with pytest.raises(RegistrationError, match="flex-actions-one, flex-actions-two"):
        await ada.plugins.load("shouts")


async def test_an_unknown_name_names_the_nearest(ada, install):
    install("flex-actions-shouts", "shouts = flex_shouts:setup", flex_shouts=SHOUTS)
    with pytest.raises(RegistrationError) as caught:
        await ada.plugins.load("shout")
    assert "'shouts'" in caught.value.hint


async def test_a_file_is_a_plugin(ada, channel, tmp_path):
    (tmp_path / "shouting.py").write_text(textwrap.dedent(SHOUTS))
    assert await ada.plugins.load(str(tmp_path / "shouting.py")) == "shouting"
    await say(ada, channel)
    assert [m.body for m in await ada.messages(channel)] == ["HI"]


@pytest.mark.parametrize("source", [None, "x = 1", "def setup(:", "raise ValueError", "setup = 5"])
async def test_a_file_that_is_no_plugin(ada, tmp_path, source):
    path = tmp_path / "bad.py"
    if source is not None:
        path.write_text(source)
    with pytest.raises(RegistrationError) as caught:
        await ada.plugins.load(str(path))
    assert (source in ("x = 1", "setup = 5")) == ("setup(plugin)" in (caught.value.hint or ""))
    assert not [name for name in sys.modules if name.endswith("plugin_bad")]


async def test_two_files_of_one_name_do_not_mix(ada, tmp_path):
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.py").write_text(
            f"WHERE = {folder!r}\ndef setup(plugin): plugin.shared['at'] = WHERE"
        )
    one, _ = find_setup(str(tmp_path / "one" / "same.py"))
    two, _ = find_setup(str(tmp_path / "two" / "same.py"))
    assert (one.__globals__["WHERE"], two.__globals__["WHERE"]) == ("one", "two")


# What a plugin is given


@attrs.frozen
class Settings:
    limit: int = attrs.field(default=3, validator=attrs.validators.instance_of(int))
    greeting_text: str = "hi"


async def settings_of(backend, settings):
    found = []
    config = {"plugins": {"mine": settings}}

    def mine(plugin):
        found.append(plugin.settings(Settings))

    async with connect(backend, identity="ada", config=config, plugins=[mine]):
        return found[0]


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, Settings()), ({"limit": 5}, Settings(5)), ({"greetingText": "ho"}, Settings(greeting_text="ho"))],
)
async def test_settings_come_as_a_class_of_the_plugins_own(backend, given, expected):
    assert await settings_of(backend, given) == expected


async def test_an_unknown_setting_names_the_nearest(backend, refused):
    with refused("invalid_config") as caught:
        await settings_of(backend, {"limmit": 5})
    assert "'limit'" in caught.value.hint


async def test_a_setting_that_its_class_refuses_is_refused(backend, refused):
    with refused("invalid_config") as caught:
        await settings_of(backend, {"limit": "five"})
    assert "mine" in caught.value.message


async def test_a_plugin_notifies_in_its_session(ada, watch):
    seen = watch(signals.notification_shown, ada)
    await ada.plugins.load(lambda plugin: plugin.notify("Hello", who="ada"), name="greeter")
    assert seen == [{"notification": Notification("Hello", {"who": "ada"})}]


async def test_a_plugin_has_the_clock_and_the_identifiers_of_the_session(ada, clock):
    found = []
    await ada.plugins.load(found.append, name="mine")
    (plugin,) = found
    assert (plugin.session, plugin.clock, plugin.signals) == (ada, clock, signals)
    assert plugin.new_id("AB") != plugin.new_id("AB")
    assert plugin.new_id("AB").startswith("AB")


async def test_the_sessions_of_a_process_share_a_dict_for_each_plugin(ada, cleo):
    found = []
    for session in (ada, cleo):
        await session.plugins.load(found.append, name="sharing-test")
    await ada.plugins.load(found.append, name="another-test")
    assert found[0].shared is found[1].shared is not found[2].shared


async def test_the_log_bears_the_plugins_name(ada):
    with capture_logs() as logs:
        await ada.plugins.load(lambda plugin: plugin.log.info("ready"), name="mine")
    assert [(entry["event"], entry["plugin"]) for entry in logs] == [("ready", "mine")]


# Between plugins


def adds(mark, **order):
    def setup(plugin):
        @plugin.actions.before("SendMessage", **order)
        def add(payload):
            payload.body += mark

    return setup


@pytest.mark.parametrize(
    ("order", "expected"),
    [({}, "hi12"), ({"run_before": "one"}, "hi21"), ({"priority": 1}, "hi21"), ({"run_before": "missing"}, "hi12")],
)
async def test_a_plugins_hook_runs_before_a_named_ones(ada, channel, order, expected):
    await ada.plugins.load(adds("1"), name="one")
    await ada.plugins.load(adds("2", **order), name="two")
    await say(ada, channel)
    assert [m.body for m in await ada.messages(channel)] == [expected]


async def test_a_wish_that_closes_a_circle_fails_the_later_plugin_alone(ada, channel):
    await ada.plugins.load(adds("1", run_before="two"), name="one")
    with pytest.raises(RegistrationError, match="cycle"):
        await ada.plugins.load(adds("2", run_before="one"), name="two")
    await say(ada, channel)
    assert (ada.plugins.names, [m.body for m in await ada.messages(channel)]) == (["one"], ["hi1"])


async def test_a_plugin_may_hook_an_action_that_a_later_one_brings(backend):
    def hooks_it(plugin):
        plugin.actions.guard("Wave", lambda payload: None)

    def brings_it(plugin):
        plugin.actions.register("Wave", lambda payload: "o/")

    async with connect(backend, identity="ada", plugins=[hooks_it, brings_it]) as session:
        assert await session.actions.invoke("Wave") == "o/"
