"""Loading: every kind of problem, each at its place, all at once.

A case replaces a part of `PLAN`; ``¦`` marks where the problem has to be reported, and is taken out before loading.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.dialplan.load import load_dialplan
from gateway.errors import ConfigurationError
from tests.dialplan.test_load_words import ALONE, WORDS
from tests.support.plans import PLAN, load_plan, write_plan, write_sound

DOCS = Path(__file__).resolve().parents[2] / "docs" / "dialplan-errors.md"
DESK = 'desk: {dial: ["6001", "tel:+49-30-1234"], ring: 15s}'
TARGET_FORMS = "expected an extension such as sip:6001, sip:USER@HOST, or tel:+4930123456"
ACTIONS = (
    "session, play, say, tone, ring, answer, wait, menu, collect, set, goto, hook, transfer, queue, voicemail, "
    "callback, reject, hang_up, hang_up_after, tell, recording, answers"
)
EXPECTED = "route, session, transfer, reject, play, say, hang_up, queue, voicemail, callback, recording, answers, vars"
CLOCKS = "(expected a time that the clocks of Europe/Berlin show)"
TO_DESK = 'when: {dtmf: "0"}, do: [{transfer: desk}]'

SHAPE = [
    ("name: acme\n", "name: acme\n¦timezon: x\n", "unknown key 'timezon' (did you mean 'timezone'?)"),
    ("match: {from:", "match: {¦form:", "unknown key 'form' (did you mean 'from'?)"),
    ("do: [{reject: 603}]", "do: [{¦reject_: 603}]", "unknown key 'reject_' (did you mean 'reject'?)"),
    ("    use: default\n    greeting", "    ¦greeting", "key 'use' is missing (expected it in 'reception')"),
    ("  - name: blocked\n    match", "  - ¦match", "key 'name' is missing (expected it in item 1 of 'routes')"),
    ("ring: 15s", "ring: ¦soon", "'ring' is 'soon' (expected a time such as 20s, 500ms or 2m)"),
    ("ring: 15s", "mode: ¦tepid", "'mode' is 'tepid' (expected one of attended, blind, warm)"),
    ("ring: 15s", "ring: ¦0", "'ring' is '0' (expected greater than or equal to 1)"),
    ('["6001", "tel:+49-30-1234"]', "¦6001", "'dial' is '6001' (expected a list)"),
    (f"  {DESK}\n", f"  {DESK}\n  ¦desk: {{dial: [x]}}\n", "key 'desk' appears twice (the first is in line 8)"),
    ("version: 1", "version: ¦2", "'version' is 2, which is not known here (expected 1)"),
    ("name: acme", "name: ¦acme inc.", "'name' is 'acme inc.' (expected letters, digits, - and _, at most 64)"),
    ("- name: closed", "- name: ¦(no route)", "'name' is '(no route)' (expected letters, digits, - and _, at most 64)"),
    ("tools: [transfer, hang_up]", "tools: [¦transfr]", "there is no tool 'transfr' (did you mean 'transfer'?)"),
    ("name: acme", "name: ¦*acme", "alias *acme has no anchor (put quotes around text that begins with *)"),
    (
        "greeting: Hello.",
        "greeting: ¦Hello, press # now.",
        (
            "the text ends before '# now.', which is a comment "
            "(put quotes around the text, or two blanks before a comment)"
        ),
    ),
    (
        "do: [{transfer: sales}, {session: reception}]",
        "do: [{say: Sales is ¦#1}, {session: reception}]",
        (
            "not YAML: '#1}, {session: reception}]' is a comment, and closes nothing "
            "(put quotes around text that holds ' #' or begins with #)"
        ),
    ),
    (
        "    greeting: Hello.\n",
        "    greeting: Press ¦# to\n      go on.\n",
        "not YAML: '# to' is a comment, and ends the text (put quotes around text that holds ' #' or begins with #)",
    ),
    (
        "timezone: Europe/Berlin\n",
        "¦\ttimezone: UTC\n",
        "not YAML: found character '\\t' that cannot start any token (indent with spaces, not tabs)",
    ),
]

VALUES = [
    ("mon-fri: ", "¦mon-frj: ", "'mon-frj' names 'frj', which is no day (did you mean 'fri'?)"),
    ('"09:00-17:30"', '¦"9-17"', "'mon-fri' is '9-17' (expected times of day such as 09:00-17:30)"),
    ('"09:00-17:30"', '¦"09:00-25:00"', "'mon-fri' holds 25:00, which is no time of day (expected 00:00 to 24:00)"),
    (
        '"09:00-17:30"',
        '¦"09:00-09:00"',
        "'mon-fri' holds an empty range (expected different times; 00:00-24:00 is the whole day)",
    ),
    (
        "[2026-12-24..2026-12-26]",
        "[¦24.12.2026]",
        "item 1 of 'except' is '24.12.2026' (expected a date such as 2026-12-24, or 2026-12-24..2026-12-26)",
    ),
    (
        "2026-12-24..2026-12-26",
        "¦2026-12-26..2026-12-24",
        "item 1 of 'except' ends before it begins (expected the earlier date first)",
    ),
    (
        '["6001", ',
        '[¦"https:6001", ',
        f"item 1 of 'dial' holds 'https:6001' ({TARGET_FORMS})",
    ),
    (
        '"/7[0-9]{3}/"',
        '¦"/7[0-9{3}/"',
        "'to' holds a bad expression: ']' is missing, at character 9 (docs/dialplan.md has the syntax)",
    ),
    (
        '"+4990*"',
        '¦"+49*90"',
        "item 2 of 'from' holds '+49*90' with a * inside (expected * at the end, or an expression such as /7.*0/)",
    ),
    (
        '"+4990*"',
        '¦""',
        "item 2 of 'from' is empty (expected a pattern such as 7000, +4930* or /7[0-9]{3}/)",
    ),
    (
        '{X-Queue: "',
        '{¦X Queue: "',
        "'X Queue' is not usable as key (expected the name of a SIP header, such as X-Queue)",
    ),
    ("reject: 603", "reject: ¦200", "'reject' is 200 (expected a SIP status between 400 and 699)"),
    (
        "reject: 603",
        "reject: ¦407",
        "'reject' is 407, which asks for a password (expected another status, such as 403)",
    ),
    ("reject: 603", "reject: ¦busy", "'reject' is 'busy' (expected a whole number)"),
    (
        "reason: Busy",
        'reason: ¦"a\\r\\nb"',
        "'reason' is 'a\\\\x0d\\\\x0ab' (expected one line of at most 100 characters)",
    ),
    ("hang_up: true", "hang_up: ¦false", "'hang_up' is false (expected true; leave the key out for the contrary)"),
    (
        "do: [{reject: 603}]",
        "do: [¦{reject: 603, hang_up: true}]",
        f"item 1 of 'do' has reject and hang_up (expected exactly one of {ACTIONS})",
    ),
    ("do: [{reject: 603}]", "do: ¦[]", "'do' is an empty list (expected at least 1 of them)"),
    (
        'when: {dtmf: "0"}',
        'when: {dtmf: ¦"00"}',
        "'dtmf' is '00' (expected one telephone key: 0 to 9, \"*\", \"#\" or A to D)",
    ),
    ("greeting: Hello.", "record: {consent: ¦maybe}", "'consent' is 'maybe' (expected one of announce, ask, given)"),
    (
        'when: {dtmf: "0"}',
        "when: {budget: ¦80}",
        "'budget' is '80' (expected a share of the budget such as 80%, at most 100%)",
    ),
    ('when: {dtmf: "0"}', "when: {cost_over: ¦0}", "'cost_over' is '0' (expected greater than 0)"),
    ("hang_up: true", "answers: ¦long", "'answers' is 'long' (expected 'short')"),
    ("greeting: Hello.", "limits: {minutes: ¦0}", "'minutes' is '0' (expected greater than 0)"),
    ("hang_up: true", "recording: ¦halt", "'recording' is 'halt' (expected one of pause, resume, stop)"),
    ("greeting: Hello.", 'greeting: ¦" "', "'greeting' is empty or too long (expected 1 to 1000 characters)"),
    (
        "greeting: Hello.",
        'protect: [Listen, ¦" "]',
        "item 2 of 'protect' is empty or too long (expected 1 to 1000 characters)",
    ),
    (
        "greeting: Hello.",
        "protect: ¦notice.md",
        "'notice.md': cannot be read: No such file or directory (expected a readable file)",
    ),
    (
        "greeting: Hello.",
        "protect: [Hear, ¦notice.wav]",
        "'notice.wav' is not a file (expected WAV, 16 bit, mono, 8 kHz; sox IN -b 16 -c 1 -r 8000 OUT.wav makes one)",
    ),
    (
        "expect: {route: day, transfer: desk}",
        "expect: ¦{}",
        f"'expect' is empty (expected one of {EXPECTED})",
    ),
    ("expect: {route: day", "expect: {¦rout: day", "unknown key 'rout' (did you mean 'route'?)"),
]

MEANING = [
    (
        "timezone: Europe/Berlin",
        "timezone: ¦Europe/Berln",
        "'timezone' is 'Europe/Berln' (did you mean 'Europe/Berlin'?)",
    ),
    (
        'sat: ["10:00-12:00", "13:00-14:00"]',
        'sat: ["10:00-12:00", ¦"11:00-14:00"]',
        "sat 11:00-14:00 overlaps sat 10:00-12:00 (expected each minute once)",
    ),
    (
        "office: {mon-fri",
        "¦never: {except: [2026-12-24]}\n  office: {mon-fri",
        "'never' never opens (expected times, such as mon-fri: \"09:00-17:00\")",
    ),
    ("when: office", "when: ¦ofice", "there are no opening hours 'ofice' (did you mean 'office'?)"),
    ("else: desk", "else: ¦dsk", "there is no contact 'dsk' (did you mean 'desk'?)"),
    ("when: office, else: desk", "¦else: desk", "'else' has no effect without 'when' (expected when: HOURS beside it)"),
    (
        f"else: desk, description: Orders}}\n  {DESK}",
        'else: ¦desk, description: Orders}\n  desk: {dial: ["6001"], when: office, else: sales}',
        "contact 'sales' stands in for itself: sales -> desk -> sales (expected a chain that ends)",
    ),
    (
        "greeting: Hello.",
        "greeting: ¦Hello {caller.name}.",
        "'greeting' holds a variable (a greeting is the same for every caller)",
    ),
    (
        "instructions: You are {dialplan.name}.",
        "instructions: ¦You are {dialplan.nam}.",
        "unknown variable {dialplan.nam} (did you mean 'dialplan.name'?)",
    ),
    (
        "instructions: You are {dialplan.name}.",
        "instructions: ¦missing.md",
        "'missing.md': cannot be read: No such file or directory (expected a readable file)",
    ),
    ("- name: closed", "- name: ¦blocked", "route 'blocked' appears twice (the first is in line 16)"),
    ("hours: office, trunk", "hours: ¦office_, trunk", "there are no opening hours 'office_' (did you mean 'office'?)"),
    ("transfer: sales", "transfer: ¦sale", "there is no contact 'sale' (did you mean 'sales'?)"),
    ("{session: reception}]", "{session: ¦recepton}]", "there is no session 'recepton' (did you mean 'reception'?)"),
    (
        "play: closed.wav",
        "play: ¦open.wav",
        "'open.wav' is not a file (expected WAV, 16 bit, mono, 8 kHz; sox IN -b 16 -c 1 -r 8000 OUT.wav makes one)",
    ),
    (
        "  - name: closed\n",
        '  - ¦{name: late, match: {to: "7000", from: "+4990123"}, do: [{hang_up: true}]}\n  - name: closed\n',
        "route 'late' is never reached: 'blocked' takes all its calls (move it above line 16)",
    ),
    (
        "{hang_up: true}]",
        "{hang_up: true}, ¦{play: closed.wav}]",
        "an action that is never reached: the one before it is the last (expected it further up, or not at all)",
    ),
    (
        "{play: closed.wav}, {hang_up: true}",
        "{play: closed.wav}, ¦{reject: 486}",
        "'reject' comes too late: the call has been answered (expected hang_up: true)",
    ),
    (
        TO_DESK,
        'when: {dtmf: "0"}, do: [¦{reject: 486}]',
        "'reject' comes too late: the call has been answered (expected hang_up: true)",
    ),
    ("name: down, when", "name: ¦zero, when", "escalation 'zero' appears twice (the first is in line 26)"),
    (
        "when: {provider_down: true}, do: [{reject: {code: 503, reason: Busy}}]",
        'when: ¦{dtmf: "0"}, do: [{hang_up: true}]',
        "escalation 'down' never fires: 'zero' answers the same event (expected each event once)",
    ),
    ('at: "2026-11-20T10:00"', 'at: ¦"today"', "'at' is 'today' (expected a date and time such as 2026-11-20T10:00)"),
    (
        'at: "2026-11-20T10:00"',
        'at: ¦"2026-03-29T02:30"',
        f"'at' is '2026-03-29T02:30', which is skipped by a clock change {CLOCKS}",
    ),
    (
        'call: {to: "7000", from: "+49301", at: "2026-11-20T10:00", ',
        'call: ¦{to: "7000", from: "+49301", ',
        "key 'at' is missing (expected it in every test of a plan with hours)",
    ),
    (
        "greeting: Hello.",
        "record: {consent: ¦ask}",
        "consent by ask without 'play' (expected play: question.wav)",
    ),
    (
        "greeting: Hello.",
        "record: {consent: ¦announce}",
        "consent by announce without 'play' (expected play: announcement.wav)",
    ),
    (
        "greeting: Hello.",
        "record: {consent: given, ¦play: closed.wav}",
        "'play' has no effect with consent: given",
    ),
    (
        "greeting: Hello.",
        "record: {consent: announce, play: closed.wav, ¦wait: 5s}",
        "'wait' has no effect with consent: announce",
    ),
    (
        "greeting: Hello.",
        "record: {consent: ask, play: closed.wav, decline: ¦1}",
        "'1' both agrees and declines (expected two different keys)",
    ),
    (
        "greeting: Hello.",
        "record: {consent: ask, play: ¦ask.wav}",
        "'ask.wav' is not a file (expected WAV, 16 bit, mono, 8 kHz; sox IN -b 16 -c 1 -r 8000 OUT.wav makes one)",
    ),
    (
        TO_DESK,
        'when: {dtmf: "0"}, do: [{recording: ¦stop}]',
        "'recording' has nothing to change (expected a session with record)",
    ),
    (
        TO_DESK,
        "when: {budget: 100%}, do: [¦{session: reception}]",
        "'session' comes too late: the budget is used up (expected it at a smaller share, such as budget: 80%)",
    ),
    (
        TO_DESK,
        "when: {budget: 100%}, do: [¦{answers: short}, {hang_up: true}]",
        "'answers' comes too late: the budget is used up (expected it at a smaller share, such as budget: 80%)",
    ),
    ("expect: {route: day", "expect: {route: ¦dya", "there is no route 'dya' (did you mean 'day'?)"),
    ("day, transfer: desk}", "day, transfer: ¦dsk}", "there is no contact 'dsk' (did you mean 'desk'?)"),
    ("day, transfer: desk}", "day, session: ¦x}", "there is no session 'x' (expected 'reception')"),
]

WHOLE = [
    "key 'routes' is missing (expected it in the file)",
    "'transfer' has nobody to call (expected contacts in this plan)",
    "'escalations' never fire without a session (expected sessions)",
    "the configuration has no realtime session 'default' (did you mean 'defualt'?)",
    "the configuration has no trunk 'pbx' (did you mean 'pbx2'?)",
    "the configuration keeps no recordings (expected records.recordings.folder there)",
    (
        "the configuration does not know what realtime session 'default' costs, its model or its transcription "
        "(expected realtime.default.prices there, see docs/budget.md)"
    ),
]
"""Messages of plans that are not `PLAN` with one mistake; each has its own test, here or in test_model.py."""


def broken(old: str, new: str) -> tuple[str, int, int]:
    """`PLAN` with `old` replaced by `new`, and the line and column of the mark (of `old` where there is none)."""
    assert PLAN.count(old) == 1, f"{old!r} has to be in PLAN once"
    marked = PLAN.replace(old, new)
    before = marked[: marked.index("¦")] if "¦" in marked else PLAN[: PLAN.index(old)]
    return marked.replace("¦", ""), before.count("\n") + 1, len(before) - before.rfind("\n")


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_plan(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


def test_the_plan_itself_has_no_problem(tmp_path: Path) -> None:
    assert load_plan(tmp_path).name == "acme"


@pytest.mark.parametrize(("old", "new", "message"), SHAPE + VALUES + MEANING)
def test_each_problem_is_reported_at_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    text, line, column = broken(old, new)
    assert problems(tmp_path, text) == [f"plan.yaml:{line}:{column}: {message}"]


def test_the_documentation_shows_every_problem_once() -> None:
    blocks = re.findall(r"```text\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    documented = [line for block in blocks for line in block.splitlines()]
    known = {message for _, _, message in SHAPE + VALUES + MEANING + WORDS}
    assert sorted(documented) == sorted(known | set(WHOLE) | set(ALONE))


def test_all_problems_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = PLAN
    for old, new, _ in (SHAPE[5], VALUES[0], VALUES[11], MEANING[3], MEANING[12], MEANING[-1]):
        text = text.replace(old, new.replace("¦", ""))
    found = problems(tmp_path, text)
    assert len(found) == 6
    assert found == sorted(found, key=lambda problem: int(problem.split(":")[1]))


def test_the_rest_of_a_plan_is_looked_at_though_its_head_is_missing(tmp_path: Path) -> None:
    head, rest = PLAN.split("hours:", 1)
    text = f"hours:{rest}".replace("closed.wav", "open.wav")
    found = "\n".join(problems(tmp_path, text))
    assert all(f"key {key!r} is missing" in found for key in ("version", "name", "timezone")), head
    assert "'open.wav' is not a file" in found


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("routes:\n", "rotues:\n", "unknown key 'rotues' (did you mean 'routes'?)"),
        ("routes:\n", "routes: {}\nx:\n", "'routes' is an empty table (expected a list)"),
        (
            "routes:\n",
            "routes: []\nx:\n",
            "'routes' is an empty list (expected at least 1 of them)",
        ),
        ("    do: [", "    does: [", "unknown key 'does' (did you mean 'do'?)"),
    ],
)
def test_the_rest_of_a_plan_is_looked_at_though_no_route_can_be_used(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = PLAN.replace(old, new).replace("ring: 15s", "ring: soon").replace("else: desk", "else: dsk")
    found = [problem.split(": ", 1)[1] for problem in problems(tmp_path, text)]
    assert message in found
    assert "'ring' is 'soon' (expected a time such as 20s, 500ms or 2m)" in found
    assert "there is no contact 'dsk' (did you mean 'desk'?)" in found
    assert not any("there is no route" in problem for problem in found)


def test_a_mistake_within_an_entry_does_not_make_its_name_unknown(tmp_path: Path) -> None:
    text = (
        PLAN.replace("ring: 15s", "ring: soon")
        .replace("mon-fri", "mon-frj")
        .replace('to: "7000", hours', "too: x, hours")
    )
    assert [problem.split(": ", 1)[1].split(" (")[0] for problem in problems(tmp_path, text)] == [
        "'mon-frj' names 'frj', which is no day",
        "'ring' is 'soon'",
        "unknown key 'too'",
    ]


def test_a_route_with_a_mistake_does_not_eclipse_others(tmp_path: Path) -> None:
    text = PLAN.replace("match: {from: [anonymous", "match: {form: [anonymous")
    assert len(problems(tmp_path, text)) == 1


@pytest.mark.parametrize("section", ["version", "name", "timezone", "routes"])
def test_a_missing_top_level_key_is_reported(tmp_path: Path, section: str) -> None:
    lines = PLAN.splitlines(keepends=True)
    start = next(n for n, line in enumerate(lines) if line.startswith(section))
    end = next(n for n, line in enumerate([*lines[start + 1 :], "x"], start + 1) if not line.startswith(" "))
    text = "".join(lines[:start] + lines[end:])
    assert problems(tmp_path, text) == [f"plan.yaml:1:1: key '{section}' is missing (expected it in the file)"]


def test_empty_sections_are_refused(tmp_path: Path) -> None:
    assert problems(tmp_path, PLAN + "x:\n")[0].startswith("plan.yaml:33:1: unknown key 'x'")
    text = "version: 1\nname: a\ntimezone: UTC\nroutes:\n"
    assert problems(tmp_path, text) == ["plan.yaml:4:8: 'routes' is empty (expected a list)"]


def test_a_criterion_left_empty_does_not_match_everything(tmp_path: Path) -> None:
    text = PLAN.replace('match: {to: "/7[0-9]{3}/"}', "match: {to: }")
    assert problems(tmp_path, text) == ["plan.yaml:23:16: 'to' is empty (expected a list)"]


def test_an_action_left_empty_is_refused(tmp_path: Path) -> None:
    assert "is empty" in problems(tmp_path, PLAN.replace("reject: 603", "reject:"))[0]
    assert "has no key" in problems(tmp_path, PLAN.replace("{reject: 603}", "{}"))[0]


def test_a_transfer_tool_needs_contacts(tmp_path: Path) -> None:
    text = """\
version: 1
name: a
timezone: UTC
sessions: {s: {use: default, tools: [transfer]}}
routes: [{name: all, do: [{session: s}]}]
"""
    assert problems(tmp_path, text) == [
        "plan.yaml:4:38: 'transfer' has nobody to call (expected contacts in this plan)"
    ]


def test_escalations_need_a_session(tmp_path: Path) -> None:
    text = """\
version: 1
name: a
timezone: UTC
routes: [{name: all, do: [{reject: 486}]}]
escalations: [{name: e, when: {dtmf: 1}, do: [{hang_up: true}]}]
"""
    assert problems(tmp_path, text) == ["plan.yaml:5:1: 'escalations' never fire without a session (expected sessions)"]


def test_a_test_needs_no_time_in_a_plan_without_hours(tmp_path: Path) -> None:
    text = """\
version: 1
name: a
timezone: UTC
routes: [{name: all, do: [{reject: 486}]}]
tests: [{call: {to: 7000}, expect: {reject: 486}}]
"""
    assert load_plan(tmp_path, text).examples[0].name == "7000 called by anonymous"


def test_unknown_variables_of_a_prompt_file_are_reported_in_that_file(tmp_path: Path) -> None:
    (tmp_path / "r.md").write_text("Hello.\nI am {dialplan.nam} and {x}.\n", encoding="utf-8")
    text = PLAN.replace("You are {dialplan.name}.", "r.md").replace("ring: 15s", "ring: soon")
    assert [problem.split(" (")[0] for problem in problems(tmp_path, text)[1:]] == [
        "r.md:2:6: unknown variable {dialplan.nam}",
        "r.md:2:25: unknown variable {x}",
    ]


def test_a_prompt_file_has_to_be_utf_8(tmp_path: Path) -> None:
    (tmp_path / "r.md").write_bytes(b"\xff")
    expected = "'r.md': byte 0xff is not UTF-8 text (save the file as UTF-8)"
    assert problems(tmp_path, PLAN.replace("You are {dialplan.name}.", "r.md")) == [f"plan.yaml:13:19: {expected}"]


@pytest.mark.parametrize(
    ("rate_hz", "channels", "sample_bytes", "trouble"),
    [
        (44100, 1, 2, "has 16 bit, 1 channel, 44100 Hz"),
        (8000, 2, 2, "has 16 bit, 2 channels, 8000 Hz"),
        (8000, 1, 1, "has 8 bit, 1 channel, 8000 Hz"),
    ],
)
def test_sounds_have_to_fit_the_telephone(
    tmp_path: Path, rate_hz: int, channels: int, sample_bytes: int, trouble: str
) -> None:
    file = write_plan(tmp_path)
    write_sound(tmp_path / "closed.wav", rate_hz, channels, sample_bytes)
    with pytest.raises(ConfigurationError, match=f"'closed.wav' {trouble}"):
        load_dialplan(file)


@pytest.mark.parametrize("data", [b"", b"RIFF", b"ID3 not a wave file at all", b"RIFF\x04\x00\x00\x00WAVE"])
def test_sounds_have_to_be_sounds(tmp_path: Path, data: bytes) -> None:
    file = write_plan(tmp_path)
    (tmp_path / "closed.wav").write_bytes(data)
    with pytest.raises(ConfigurationError, match=r"'closed.wav' cannot be played"):
        load_dialplan(file)


def test_a_folder_is_no_sound(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a file"):
        load_plan(tmp_path, PLAN.replace("closed.wav", "."))


def test_names_are_found_from_the_folder_of_the_plan_wherever_the_process_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plan(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load_dialplan(Path("plan.yaml")).file == Path("plan.yaml")


def test_a_missing_plan_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.yaml: cannot be read"):
        load_dialplan(tmp_path / "none.yaml")


def test_numbers_need_no_quotes(tmp_path: Path) -> None:
    text = PLAN.replace('to: "7000", hours', "to: 0049301, hours").replace(
        'to: "7000", from: "+49301"', "to: 0049301, from: +49301"
    )
    plan = load_plan(tmp_path, text)
    assert plan.routes[1].match.to[0].normal == plan.examples[0].facts.to == "0049301"


def test_a_ring_of_contacts_is_reported_once_and_a_chain_into_it_is_not(tmp_path: Path) -> None:
    ring = "".join(
        f"  {name}: {{dial: [x], when: office, else: {after}}}\n"
        for name, after in [("a", "b"), ("b", "c"), ("c", "b"), ("d", "d")]
    )
    found = problems(tmp_path, PLAN.replace("contacts:\n", f"contacts:\n{ring}"))
    assert [problem.split(": ", 1)[1].split(" (")[0] for problem in found] == [
        "contact 'b' stands in for itself: b -> c -> b",
        "contact 'd' stands in for itself: d -> d",
    ]
