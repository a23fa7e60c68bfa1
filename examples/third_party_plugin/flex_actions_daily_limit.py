"""A plugin: at most so many files a day and session, by UTC."""

import attrs

from flex_actions import Plugin

DAY_S = 24 * 3600


@attrs.frozen
class Settings:
    """`config["plugins"]["daily_limit"]`."""

    files: int = attrs.field(default=20, validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)])


def setup(plugin: Plugin) -> None:
    """Guard the sends, and count those that succeeded."""
    limit = plugin.settings(Settings).files
    sent: dict[int, int] = {}

    def today() -> int:
        return int(plugin.clock.now() // DAY_S)

    def refuse_above_the_limit(payload, abort):
        if sent.get(today(), 0) >= limit:
            abort(f"{limit} files were sent today")

    def count(payload):
        sent[today()] = sent.get(today(), 0) + 1

    plugin.actions.guard("SendMediaMessage", refuse_above_the_limit)
    plugin.actions.after("SendMediaMessage", count)
