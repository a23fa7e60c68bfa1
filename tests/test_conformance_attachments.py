"""Which file passes, and what the message input holds: ours against the rules and reducers of the real Flex.

Ours are the same in all profiles, and differ from Flex on purpose where the differences below say so. Each is data:
where it applies, and what is said then. Anywhere else both must agree, and each difference must really occur.
"""

import itertools

import pytest

from flex_actions import ActionError, AttachmentPolicy, File
from flex_actions.config import read_config
from flex_actions.message_input import EMPTY, step

ENDINGS = ["jpg", "jpeg", "png", "gif", "pdf", "txt", "heic", "mp3", "mp4", "zip", "exe", "tar.gz", "tar.png"]
TYPES = {
    "jpg": {"image/jpeg"},
    "jpeg": {"image/jpeg"},
    "png": {"image/png"},
    "gif": {"image/gif"},
    "pdf": {"application/pdf"},
    "txt": {"text/plain"},
    "heic": {"image/heic"},
    "mp3": {"audio/mpeg"},
    "mp4": {"video/mp4"},
    "zip": {"application/zip"},
    "gz": {"application/gzip"},
}
UNDECLARED = ("", "application/octet-stream")
DECLARED = [*UNDECLARED, "IMAGE/PNG", "document/text", *sorted(set().union(*TYPES.values()))]
LISTS = [
    ["jpg", "jpeg", "png", "gif", "txt", "pdf"],
    [],
    ["png"],
    ["PNG", "Pdf", "TXT"],
    [".png", ".pdf", ".txt"],
    ["jpg"],
    ["pdf", "zip", "exe"],
    ["heic", "mp3", "mp4"],
    ["tar.gz"],
    ["tar.png"],
    ["gz", "jpeg"],
]
NAMES = [
    f"{stem}.{written}"
    for stem in ("a", "a.b", "Übung 1", "a.exe", "")
    for ending in ENDINGS
    for written in dict.fromkeys((ending, ending.upper(), ending.title()))
] + ["a", "a.", "png", "apng"]


class Case:
    """One file under one list."""

    def __init__(self, name, declared, accepted):
        self.name, self.declared, self.accepted = name, declared, accepted
        self.ending = name.rpartition(".")[2] if "." in name else ""

    def __repr__(self):
        return f"{self.name!r} declared {self.declared!r} under {self.accepted}"


# What it is, whether ours accepts, and where it applies; Flex then says the opposite.
TYPE_DIFFERENCES = {
    "a declared type that contradicts the extension is refused; in Flex it only loosens the case": (
        False,
        lambda c: (
            c.declared not in UNDECLARED and c.declared.lower() not in TYPES.get(c.ending.lower(), {c.declared.lower()})
        ),
    ),
    "case does not count; in Flex only for known kinds with a fitting type": (
        True,
        lambda c: c.ending != c.ending.lower() or any(e != e.lower() for e in c.accepted),
    ),
    "an entry may have a dot; in Flex only for known kinds with a fitting type": (
        True,
        lambda c: any(e.startswith(".") for e in c.accepted),
    ),
    "an entry may be of two parts; Flex looks behind the last dot": (
        True,
        lambda c: "tar.gz" in c.accepted and c.name.lower().endswith(".tar.gz"),
    ),
    "an entry of two parts means both; in Flex it lets the kind of its end pass, typed": (
        False,
        lambda c: "tar.png" in c.accepted and not c.name.lower().endswith(".tar.png"),
    ),
    "an entry of two parts lets an untyped file pass": (
        True,
        lambda c: "tar.png" in c.accepted and c.name.lower().endswith(".tar.png"),
    ),
    "a name that is nothing but an ending has none; in Flex a known kind with a fitting type passes": (
        False,
        lambda c: c.name.startswith("."),
    ),
}


def streamed(name, size, declared):
    return File.from_stream(lambda: None, name=name, size_bytes=size, content_type=declared)


def test_types_are_accepted_as_by_the_real_rules_but_for_what_is_listed(real):
    files = [{"name": n, "type": t, "size": 1} for n in NAMES for t in DECLARED]
    theirs = real.ask("judge", [{"config": {"enabled": True, "acceptedExtensions": e}, "files": files} for e in LISTS])
    made = [streamed(f["name"], 1, f["type"]) for f in files]
    met, unexplained = set(), []
    for accepted, verdicts in zip(LISTS, theirs, strict=True):
        policy = AttachmentPolicy(accepted_extensions=accepted)
        for file, ours, (passes, _) in zip(files, made, verdicts, strict=True):
            accepts = policy.judge(ours).accepted
            if accepts is bool(passes):
                continue
            case = Case(file["name"], file["type"], accepted)
            why = [title for title, (says, applies) in TYPE_DIFFERENCES.items() if says is accepts and applies(case)]
            met.update(why)
            if not why:
                unexplained.append(f"{case}: ours {accepts}, Flex {passes}")
    assert unexplained == []
    assert met == set(TYPE_DIFFERENCES)


LIMITS = [1, 2, 1000, 10_485_760, 10_485_761, 5_000_000_000]
SIZES = [0, 1, 2, 3, 999, 1000, 1001, 10_485_759, 10_485_760, 10_485_761, 10_485_762, 1_073_741_824, 5_000_000_001]
SDK_LIMIT = 1024 * 1024 * 1024  # of 2.x; the smaller of both counts


def test_sizes_are_accepted_as_by_the_real_rules_but_for_empty_files(real):
    """An empty file is refused here and passes there."""
    files = [{"name": "a.pdf", "type": "application/pdf", "size": size} for size in SIZES]
    configs = [{"enabled": True}, *({"enabled": True, "maxFileSize": limit} for limit in LIMITS)]
    theirs = real.ask("judge", [{"config": config, "files": files} for config in configs])
    for config, verdicts in zip(configs, theirs, strict=True):
        limit = config.get("maxFileSize", AttachmentPolicy().max_file_size)
        if real.profile == "flex2":
            limit = min(limit, SDK_LIMIT)
        policy = AttachmentPolicy(max_file_size=limit)
        ours = {size: policy.judge(streamed("a.pdf", size, "application/pdf")).accepted for size in SIZES}
        assert ours == {size: fits and size > 0 for size, (_, fits) in zip(SIZES, verdicts, strict=True)}


@pytest.mark.parametrize(
    "setting",
    [{"maxFileSize": 0}, {"maxFileSize": "10MB"}, {"maxFileSize": -1}]
    + [{"acceptedExtensions": wrong} for wrong in ("png", 5, {"0": "png"}, ["*"], ["image/*"])],
    ids=str,
)
def test_a_setting_that_flex_silently_reads_in_its_own_way_is_refused(real, refused, setting):
    file = {"name": "a.png", "type": "image/png", "size": 1}
    [[(passes, fits)]] = real.ask("judge", [{"config": {"enabled": True, **setting}, "files": [file]}])
    assert {passes, fits} <= {True, False}
    with refused("invalid_config"):
        read_config({"fileAttachment": setting}, side="agent")


# -- the message input --

A, COPY, B = (File.from_bytes(data, name=name) for data, name in ((b"1", "a.pdf"), (b"1", "a.pdf"), (b"22", "b.pdf")))
EVENTS = {"text": "SetInputText", "attach": "AttachFile", "detach": "DetachFile"}
STEPS = [("text", "x"), ("text", "y"), ("text", ""), ("attach", A), ("attach", B)]
STEPS += [("detach", A), ("detach", COPY), ("detach", B)]


def other(held, file):
    return [f for f in held if not f.same_as(file)]


# By state of ours and step: the code of our refusal or "" if both do something, and what Flex holds then (text, files)
# of its text, its files and the step's value. 1.x keeps text or files, 2.x both, several files as many as it accepts.
INPUT_DIFFERENCES = {
    "flex1": {
        ("FILE", "text"): ("input_holds_file", lambda text, held, new: (new, [])),
        ("FILE", "text", ""): ("", lambda text, held, new: ("", [])),
        ("FILE", "attach"): ("one_file_at_a_time", lambda text, held, new: ("", [*held, new])),
        ("EMPTY", "detach"): ("nothing_attached", lambda text, held, new: ("", [])),
        ("TEXT", "detach"): ("nothing_attached", lambda text, held, new: ("", [])),
        ("FILE", "detach", "another"): ("file_not_attached", lambda text, held, new: ("", other(held, new))),
    },
    "flex2": {
        ("FILE", "text"): ("input_holds_file", lambda text, held, new: (new, held)),
        ("TEXT", "attach"): ("", lambda text, held, new: (text, [new])),
        ("FILE", "attach"): ("one_file_at_a_time", lambda text, held, new: ("", [*held, new])),
        ("EMPTY", "detach"): ("nothing_attached", lambda text, held, new: ("", [])),
        ("TEXT", "detach"): ("nothing_attached", lambda text, held, new: (text, [])),
        ("FILE", "detach", "another"): ("file_not_attached", lambda text, held, new: ("", other(held, new))),
    },
}


def as_json(value):
    if isinstance(value, File):
        return {"name": value.name, "type": value.content_type, "size": value.size_bytes}
    return value


def difference(differences, state, kind, value):
    """The key of the listed difference that a step meets, or None."""
    if kind == "detach" and state.kind == "FILE":
        key = (state.kind, kind, "same" if value.same_as(state.file) else "another")
    else:
        key = (state.kind, kind, value) if value == "" else (state.kind, kind)
        if key not in differences and value == "" and state.kind != "FILE":
            key = (state.kind, kind)
    return key if key in differences else None


def holds(state):
    return [state.text or "", [as_json(state.file)] if state.file else []]


def test_the_message_input_holds_what_the_real_reducer_does_but_for_what_is_listed(real):
    """Every sequence of four steps, up to the first listed difference."""
    differences, met = INPUT_DIFFERENCES[real.profile], set()
    sequences = list(itertools.product(STEPS, repeat=4))
    theirs = real.ask("input", [[[kind, as_json(value)] for kind, value in sequence] for sequence in sequences])
    for sequence, their_states in zip(sequences, theirs, strict=True):
        state = EMPTY
        for (kind, value), found in zip(sequence, their_states, strict=True):
            try:
                after, code = step(state, EVENTS[kind], value), ""
            except ActionError as error:
                after, code = state, error.code
            key = difference(differences, state, kind, value)
            if key is not None:
                met.add(key)
                expected, then = differences[key]
                text, files = then(state.text or "", [state.file] if state.file else [], value)
                assert (code, found) == (expected, [text, [as_json(f) for f in files]]), (sequence, key)
                break
            assert (code, found) == ("", holds(after)), (sequence, kind)
            state = after
    assert met == set(differences)
