"""Errors: stable codes and the facts behind them."""

import copy
import json
import pickle
import re

import pytest

from flex_actions import (
    CODES,
    ActionAborted,
    ActionError,
    ActionFailed,
    AttachmentRefused,
    HookFailed,
    OutcomeUnknown,
    RegistrationError,
)

# A released code is never taken away or given another meaning; new ones may be added.
RELEASED = re.findall(
    r"\w+",
    """
    unknown_action action_pending action_blocked action_aborted hook_failed hook_timeout action_failed
    depth_exceeded invalid_payload attachments_disabled read_only invalid_type invalid_size one_file_at_a_time
    input_holds_file input_busy nothing_attached file_not_attached nothing_to_send file_changed file_unreadable
    unknown_channel not_a_member unknown_message no_media link_expired link_invalid media_deleted store_full
    store_readonly store_version backend_unavailable rate_limited not_authorized outcome_unknown invalid_config
    """,
)

KINDS = [ActionAborted, ActionFailed, HookFailed, AttachmentRefused, OutcomeUnknown, RegistrationError]


def full(kind=ActionError):
    return kind(
        "invalid_size",
        "Too large.",
        action="AttachFile",
        hook="billing: check",
        hint="Send less.",
        retryable=True,
        description="Longer.",
        details={"limit": 1},
    )


@pytest.mark.parametrize("code", RELEASED)
def test_a_released_code_stays(code):
    assert CODES[code].endswith(".")


def test_a_code_that_is_not_listed_is_refused():
    with pytest.raises(ValueError, match="not an error code"):
        ActionError("no_such_code", "…")


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_an_action_error(kind):
    assert issubclass(kind, ActionError)


def test_a_mistake_of_an_author_is_a_value_error_too():
    assert issubclass(RegistrationError, ValueError)


def test_the_text_is_the_message_and_what_to_do_about_it():
    assert str(full()) == "Too large. Send less."
    assert str(ActionError("invalid_size", "Too large.")) == "Too large."


def test_only_what_is_known_appears_among_the_facts():
    assert ActionError("invalid_size", "Too large.").as_dict() == {
        "code": "invalid_size",
        "message": "Too large.",
        "retryable": False,
    }


def test_the_facts_are_json():
    facts = full().as_dict()
    assert json.loads(json.dumps(facts)) == facts
    assert facts == {
        "code": "invalid_size",
        "message": "Too large.",
        "action": "AttachFile",
        "hook": "billing: check",
        "hint": "Send less.",
        "description": "Longer.",
        "retryable": True,
        "details": {"limit": 1},
    }


@pytest.mark.parametrize("kind", [ActionError, *KINDS])
@pytest.mark.parametrize("again", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
def test_an_error_survives_copying_and_pickling(kind, again):
    error = full(kind)
    error.reason = "no"
    twin = again(error)
    assert (type(twin), twin.as_dict(), twin.args, twin.reason) == (kind, error.as_dict(), error.args, "no")


def test_the_details_are_a_copy():
    details = {"limit": 1}
    error = ActionError("invalid_size", "Too large.", details=details)
    details["limit"] = 2
    assert error.details == {"limit": 1}


def test_the_repr_shows_code_and_message():
    assert repr(full(HookFailed)) == "HookFailed('invalid_size', 'Too large.')"
