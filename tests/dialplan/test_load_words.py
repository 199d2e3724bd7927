"""What the words of the language are refused for, each at its place; a case replaces a part of `EVERY_WORD`.

``¦`` marks where the problem has to be reported, and is taken out before loading.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan.actions import HookAction, walk
from gateway.dialplan.triggers import VerdictGiven
from gateway.errors import ConfigurationError
from tests.support.plans import EVERY_WORD, load_plan

KEYS = "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, #, *, A, B, C, D, other, play, say, timeout, tries, wait, words"
TRIGGERS = (
    "dtmf, said, failed_tools, repeats, silence, not_understood, minutes, cost_over, budget, language, sentiment, "
    "provider_down, webhook"
)
WORDS = [
    (
        '          "#": [{queue: queue}]',
        "          ¦#: [{queue: queue}]",
        "'#:' begins a comment: the key and what stands behind it are left out (put quotes around the key: \"#\":)",
    ),
    (
        "use: default\nlanguage",
        "use: ¦the default\nlanguage",
        "'use' is 'the default' (expected letters, digits, - and _, at most 64)",
    ),
    (
        "language: de\nlists",
        "language: ¦german\nlists",
        "'language' is 'german' (expected two letters of ISO 639-1, such as de)",
    ),
    (
        "language: de\nlists",
        'language: de\nphrases: {call_from: ¦"Anruf von {calle}"}\nlists',
        "unknown variable {calle} (did you mean 'caller'?)",
    ),
    (
        "language: de\nlists",
        'language: de\nphrases: {star: ¦"{key}"}\nlists',
        "unknown variable {key} (expected no variable)",
    ),
    (
        "language: de\nlists",
        "language: de\nphrases: {keys: ¦Press one.}\nlists",
        "'keys' leaves out what it is there for (expected {key} in it)",
    ),
    (
        "language: de\nlists",
        "language: de\nphrases: {¦key: x}\nlists",
        "unknown key 'key' (did you mean 'keys'?)",
    ),
    (
        "language: de\nlists",
        'language: de\nphrases: {hash: ¦""}\nlists',
        "'hash' is '' (expected one line of at most 200 characters)",
    ),
    (
        "language: de\nlists",
        "language: ¦tr\nlists",
        (
            "'language' is 'tr', which the gateway does not speak (expected phrases: {call_from: ..., withheld: ..., "
            "keys: ..., message: ..., said: ..., callback: ..., callback_withheld: ..., callback_invalid: ...}, or one "
            "of cs, da, de, en, es, fr, it, nl, pl, pt, sv)"
        ),
    ),
    (
        'vip: ["+4930123*", "6*"]',
        'vip: ["+4930123*", ¦"6*7"]',
        "item 2 of 'vip' holds '6*7' with a * inside (expected * at the end, or an expression such as /7.*0/)",
    ),
    (
        '2026-12-23: ["09:00-12:00"]',
        '¦2026-12-32: ["09:00-12:00"]',
        "'2026-12-32' is '2026-12-32' (expected a date such as 2026-12-24, or 2026-12-24..2026-12-26)",
    ),
    (
        '2026-12-23: ["09:00-12:00"]',
        '2026-12-23: ["09:00-12:00", ¦"11:00-13:00"]',
        "2026-12-23 11:00-13:00 overlaps 2026-12-23 09:00-12:00 (expected each minute once)",
    ),
    (
        "except: [2026-12-24..2026-12-26]",
        "holidays: ¦DE-BE",
        "'holidays' names no day (expected public holidays in except: [DE-BE])",
    ),
    (
        "except: [2026-12-24..2026-12-26]",
        "except: [¦Germany]",
        "item 1 of 'except' is 'Germany' (expected a date, or whose public holidays: DE, or DE-BE for a part of it)",
    ),
    (
        '2026-12-23: ["09:00-12:00"], except: [2026-12-24..2026-12-26]',
        "except: ¦[2000-01-01..2050-12-31, 2051-01-01..2099-12-31]",
        "'office' never opens: every date is an exception (expected times, such as mon-fri: \"09:00-17:00\")",
    ),
    (
        "line: {pattern",
        'line: ¦{dial: ["1"], pattern',
        "'line' has dial and pattern (expected exactly one of them)",
    ),
    (
        'queue: {dial: ["sip:700"]}',
        "queue: ¦{description: x}",
        "'queue' has neither dial nor pattern (expected exactly one of them)",
    ),
    (
        '{pattern: "/[1-7][0-9]{3}/"',
        '{pattern: ¦"*"',
        "'pattern' takes every number (expected such as /[1-7][0-9]{3}/ or +4930*)",
    ),
    (
        "confirm: dtmf",
        "confirm: ¦voice",
        "'confirm' is 'voice' (expected true, false or dtmf)",
    ),
    (
        'key: "1", refuse: "3"',
        'key: "1", refuse: ¦"1"',
        "'1' both takes and refuses the call (expected two different keys)",
    ),
    (
        "summary: [whisper, header, webhook]",
        "summary: [whisper, ¦letter]",
        "item 2 of 'summary' is 'letter' (expected one of header, webhook, whisper)",
    ),
    (
        "summary: [whisper, header, webhook]\n    webhook",
        "summary: [whisper]\n    ¦webhook",
        "'webhook' has no effect (expected summary: [webhook] beside it)",
    ),
    (
        'summary: [whisper, header, webhook]\n    webhook: {url: "https://crm.example/calls"}\n',
        "summary: ¦[whisper, header, webhook]\n",
        "'summary' by webhook without 'webhook' (expected webhook: {url: ...})",
    ),
    (
        'accept: {key: "1", refuse: "3", wait: 8s}',
        "accept: ¦true",
        "'accept' is text (expected a table of keys, as {} or {key: …})",
    ),
    (
        'webhook: {url: "https://crm.example/calls"}',
        "webhook: ¦https://crm.example/calls",
        "'webhook' is text (expected a table of keys, as {url: …})",
    ),
    (
        "per_call: 2,",
        "per_call: ¦0,",
        "'per_call' is '0' (expected greater than or equal to 1)",
    ),
    (
        'queue: {dial: ["sip:700"]}',
        'queue: {dial: ["sip:700"], mode: blind, ¦music: closed.wav}',
        "'music' has no effect with mode: blind (expected mode: attended or warm)",
    ),
    (
        'queue: {dial: ["sip:700"]}',
        'queue: {dial: ["sip:700"], mode: attended, ¦accept: {}}',
        "'accept' has no effect with mode: attended (expected mode: warm)",
    ),
    (
        'queue: {dial: ["sip:700"]}',
        'queue: {dial: ["sip:700"], mode: attended, ¦summary: [header, whisper]}',
        "'summary' has no effect with mode: attended (expected mode: warm)",
    ),
    (
        'queue: {dial: ["sip:700"]}',
        'queue: {dial: ["sip:700"], mode: blind, ¦trunk: carrier}',
        "'trunk' with mode: blind would ask a PBX to call by another one (expected mode: attended or warm)",
    ),
    (
        "else: night}",
        "else: ¦nigth}",
        "there is no contact or mailbox 'nigth' (did you mean 'night'?)",
    ),
    (
        "limit: 2m",
        "limit: ¦1h",
        "'limit' is '1h' (expected less than or equal to 1800)",
    ),
    (
        "to: [a@b.example]",
        "to: [¦a.example]",
        "item 1 of 'to' is 'a.example' (expected an address such as reception@example.org)",
    ),
    (
        "- email: {to: [a@b.example], subject: Message, attach: true}",
        "- ¦sms: {to: x}",
        "unknown key 'sms' (expected one of email, webhook)",
    ),
    (
        "split: 20%",
        "split: ¦100%",
        "'split' is '100%' (expected a share of the callers such as 20%, below 100%)",
    ),
    (
        "seen: 30d",
        "seen: ¦month",
        "'seen' is 'month' (expected true, false, or a number of days such as 30d)",
    ),
    (
        "language: [de], diversion",
        "language: [¦deu], diversion",
        "item 1 of 'language' is 'deu' (expected two letters of ISO 639-1, such as de)",
    ),
    (
        "- tone: beep",
        "- tone: ¦bepp",
        "'tone' is 'bepp' (did you mean 'beep'?)",
    ),
    (
        "{name: busy, for: 2s}",
        "{name: busy, for: ¦0}",
        "'for' is '0' (expected greater than 0)",
    ),
    (
        'set: {who: "{caller.name}"}',
        'set: {¦wh o: "{caller.name}"}',
        "'wh o' is not usable as key (expected letters a to z, digits and _, a letter first, at most 32)",
    ),
    (
        'set: {who: "{caller.name}"}',
        "set: ¦{}",
        "'set' is an empty table (expected at least 1 of them)",
    ),
    (
        "          3: [{transfer",
        "          ¦E: [{transfer",
        f"unknown key 'E' (expected one of {KEYS})",
    ),
    (
        '          3: [{transfer: {to: line, number: "{vars.order}"}}]',
        "          3: ¦[]",
        "'3' is an empty list (expected at least 1 of them)",
    ),
    (
        '          say: "Press one, {vars.who}."',
        '          ¦say: "Press one, {vars.who}."\n          play: closed.wav',
        "'menu' has say and play (expected one of them)",
    ),
    (
        "digits: 4-6",
        "digits: ¦6-4",
        "'digits' is '6-4' (expected how many, such as 6 or 4-8, at most 32)",
    ),
    (
        'end: "#"',
        "end: ¦none at all",
        "'end' is 'none at all' (expected \"#\", \"*\", A to D, or none: a digit would be collected)",
    ),
    (
        "tries: 3",
        "tries: ¦0",
        "'tries' is '0' (expected greater than or equal to 1)",
    ),
    (
        "into: order",
        "into: ¦1st",
        "'into' is '1st' (expected letters a to z, digits and _, a letter first, at most 32)",
    ),
    (
        "say: Bye.",
        'say: ¦" "',
        "'say' is empty or too long (expected 1 to 1000 characters)",
    ),
    (
        "said: [human, real person]",
        'said: [human, ¦"?"]',
        "item 2 of 'said' is '?' (expected words, at most 100 characters)",
    ),
    (
        "repeats: 3",
        "repeats: ¦1",
        "'repeats' is '1' (expected greater than or equal to 2)",
    ),
    (
        "silence: 25s",
        "silence: ¦0s",
        "'silence' is '0s' (expected greater than or equal to 1)",
    ),
    (
        "language: [fr]}",
        "language: [¦french]}",
        "item 1 of 'language' is 'french' (expected two letters of ISO 639-1, such as de)",
    ),
    (
        "{failed_tools: 2}",
        "¦{failed_tools: 2, repeats: 2}",
        f"'when' has failed_tools and repeats (expected exactly one of {TRIGGERS})",
    ),
    (
        "{failed_tools: 2}",
        "¦{hours: office}",
        f"'when' has no trigger (expected exactly one of {TRIGGERS})",
    ),
    (
        "{failed_tools: 2}",
        "{¦failed_tool: 2}",
        "unknown key 'failed_tool' (did you mean 'failed_tools'?)",
    ),
    (
        "transfer: busy",
        "transfer: ¦bussy",
        "'transfer' is 'bussy' (did you mean 'busy'?)",
    ),
    (
        '- digits: "1234#"',
        '- digits: ¦"12 34"',
        "'digits' is '12 34' (expected telephone keys: 0 to 9, \"*\", \"#\" or A to D)",
    ),
    (
        "contacts: {sales: busy}",
        "contacts: {sales: ¦sleeps}",
        "'sales' is 'sleeps' (expected one of accepts, answers, busy, declines, no_answer, refuses, unreachable)",
    ),
    (
        (
            '  - name: spoken\n    call: {to: "7000", at: "2026-11-20T10:00"}\n    dialogue: [{hear: '
            "hello}, {say: hi}, {expect: {route: menu}}]\n    contacts: {sales: busy}\n"
        ),
        '  - ¦name: spoken\n    call: {to: "7000", at: "2026-11-20T10:00"}\n',
        "item 2 of 'tests' has neither expect nor dialogue (expected one of them)",
    ),
    (
        'from: "@vip", name',
        'from: ¦"@vib", name',
        "there is no list 'vib' (did you mean 'vip'?)",
    ),
    (
        'vip: ["+4930123*", "6*"]',
        'vip: [¦"@vip"]',
        "list 'vip' holds '@vip', a list within a list (expected its patterns)",
    ),
    (
        'dial: ["sip:6001"], when: office, else: night',
        'dial: ["sip:6001"], when: office, else: ¦line',
        "contact 'line' has a pattern, and nobody names its number (expected a contact with dial)",
    ),
    (
        "failed: [{say: Sorry.}]",
        'failed: [{say: ¦"{vars.oder}"}]',
        "variable {vars.oder} is never set (did you mean 'order'?)",
    ),
    (
        "failed: [{say: Sorry.}]",
        'failed: [{say: ¦"{vars.name}"}]',
        (
            "variable {vars.name} is never set "
            "(expected one of order, state, who; a hook says by 'sets' which ones it sets)"
        ),
    ),
    (
        "set: {state: sent}}\n",
        "set: {state: sent, ¦stat: x}}\n",
        "the plan has no variable 'stat' (did you mean 'state'?)",
    ),
    (
        "sets: [state]",
        "sets: [state, ¦1st]",
        "item 2 of 'sets' is '1st' (expected letters a to z, digits and _, a letter first, at most 32)",
    ),
    (
        'dial: ["sip:6001"], when: office, else: night}\n  standby: {dial: ["sip:6009"], when: early}',
        'dial: ["sip:6001"], when: late, else: ¦standby}\n  standby: {dial: ["sip:6009"], when: late}',
        "contact 'standby' is never open while 'late' is closed (expected another contact, or a mailbox)",
    ),
    (
        'early: {sun: "06:00-07:00"}\ncontacts:\n  sales: {dial: ["sip:6001"], when: office, else: night}',
        'early: {mon-sun: "00:00-24:00"}\ncontacts:\n  sales: {dial: ["sip:6001"], when: early, else: ¦desk}',
        "contact 'desk' is never called: 'early' is always open (expected no 'when', or hours that close)",
    ),
    (
        "failed: [{goto: menu2}]}\n",
        "failed: [{goto: ¦menu3}]}\n",
        "there is no route 'menu3' (did you mean 'menu'?)",
    ),
    (
        "timeout: [{goto: menu2}]",
        "timeout: [{goto: ¦menu}]",
        "route 'menu' goes round in circles: menu -> menu (expected a choice of the caller, or an end)",
    ),
    (
        "[{say: Bye.}, {callback: night}, {hang_up: true}]",
        "[{say: Bye.}, {goto: ¦menu}]",
        "route 'menu' goes round in circles: menu -> menu2 -> menu (expected a choice of the caller, or an end)",
    ),
    (
        "- answer: true",
        "- answer: true\n      - ¦answer: true",
        "'answer' has no effect: the call has been answered (expected it further up, or not at all)",
    ),
    (
        "- answer: true",
        "- answer: true\n      - ¦ring: 2s",
        "'ring' comes too late: the call has been answered (expected tone: ringing)",
    ),
    (
        "[{say: Bye.}, {callback: night}, {hang_up: true}]",
        "[{say: Bye.}, ¦{tell: x}]",
        "'tell' has no session to act on (expected it in an escalation)",
    ),
    (
        "[{say: Bye.}, {callback: night}, {hang_up: true}]",
        "[¦{hang_up_after: 5s}]",
        "'hang_up_after' has no session to act on (expected it in an escalation)",
    ),
    (
        "{callback: {mailbox: night,",
        "{callback: {mailbox: ¦nite,",
        "there is no mailbox 'nite' (did you mean 'night'?)",
    ),
    (
        "{queue: queue}",
        "{queue: ¦line}",
        (
            "contact 'line' has a pattern, and nobody names its number (expected {to: NAME, number: "
            '"{vars.NAME}"}, or a contact with dial)'
        ),
    ),
    (
        '{transfer: {to: line, number: "{vars.order}"}}',
        '{transfer: {to: desk, ¦number: "1"}}',
        "contact 'desk' has numbers of its own (expected no number, or a contact with pattern)",
    ),
    (
        "words: {1: [sales, buying], 2: order}",
        "words: {1: [sales, buying], ¦4: order}",
        "key '4' has words and no actions (expected one of 1, 2, 3, #)",
    ),
    (
        "words: {1: [sales, buying], 2: order}",
        "words: {1: [sales, order], 2: ¦order}",
        "'order' is said for '1' and '2' (expected each phrase once)",
    ),
    (
        'end: "#"',
        'end: ¦"5"',
        "'end' is '5' (expected \"#\", \"*\", A to D, or none: a digit would be collected)",
    ),
    (
        "{name: fails, when: {failed_tools: 2}",
        "{name: fails, when: ¦{said: [human, real person]}",
        "escalation 'fails' never fires: 'asked' answers the same event (expected each event once)",
    ),
    (
        "{minutes: 10}",
        "{minutes: ¦30}",
        "'minutes' never come: every session ends before (expected less than limits.minutes)",
    ),
    (
        "hours: office, session: reception, to: 7*}, do: [{transfer: desk}]",
        "hours: late, session: reception, to: 7*}, do: [{transfer: ¦standby}]",
        "contact 'standby' is never open while 'late' is (expected another contact, or else: NAME beside its when)",
    ),
    (
        "tools: [transfer, ",
        "tools: [transfer, ¦report_sentiment, ",
        "'report_sentiment' is offered by itself (expected an escalation when: {sentiment: [angry]}, and it not here)",
    ),
    (
        'hook: {url: "https://erp.example/{vars.order}"',
        'hook: {url: ¦"https://{vars.order}/"',
        (
            "'url' is no URL whose host is fixed (expected https://HOST/PATH, arguments in the path or "
            "behind ? only, no user@ and no #)"
        ),
    ),
    (
        'hook: {url: "https://erp.example/{vars.order}"',
        'hook: {url: ¦"https://erp.example/{order}"',
        "unknown argument {order} (did you mean 'vars.order'?)",
    ),
    (
        "- transfer: busy",
        "- webhook: ¦zero",
        "escalation 'zero' asks no web service (expected one with when: {webhook: ...})",
    ),
    (
        "{expect: {route: menu}}",
        "{expect: {route: ¦menue}}",
        "there is no route 'menue' (did you mean 'menu'?)",
    ),
    (
        "[{say: Bye.}, {callback: night}, {hang_up: true}]",
        "[{¦menu: {say: Hm.}}]",
        "'menu' has no choice (expected a key and its actions, such as 1: [{transfer: NAME}])",
    ),
    (
        "    dialogue: [{hear",
        '    ¦then: [{dtmf: "1"}]\n    dialogue: [{hear',
        "'then' proves nothing without 'expect' (expected expect: {...})",
    ),
    (
        "    expect: {route: menu, say",
        "    ¦contacts: {sales: busy}\n    expect: {route: menu, say",
        "'contacts' has no effect without 'dialogue' (expected dialogue: [...])",
    ),
    (
        'vars: {order: "1234", state: sent}',
        "vars: ¦[x]",
        "'vars' is a list (expected a table of keys)",
    ),
]

ALONE = [
    "'failed_tools' never happens: no session has tools (expected tools in a session)",
    "'night' is a contact and a mailbox (expected different names for them)",
    "route 'b' goes round in circles: b -> c -> b (expected a choice of the caller, or an end)",
    "the configuration does not keep who has called before (expected records.callers there)",
]
"""Messages of plans that are not `EVERY_WORD` with one mistake; each has its own test below."""


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load_plan(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(("old", "new", "message"), WORDS)
def test_each_problem_is_reported_at_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert EVERY_WORD.count(old) == 1, f"{old!r} has to be in EVERY_WORD once"
    marked = EVERY_WORD.replace(old, new)
    before = marked[: marked.index("¦")]
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    assert problems(tmp_path, marked.replace("¦", "")) == [f"plan.yaml:{line}:{column}: {message}"]


HEAD = "version: 1\nname: a\ntimezone: UTC\n"


def plan_of(routes: str, sections: str = "") -> str:
    return f"{HEAD}{sections}routes:\n{routes}"


def test_failures_of_tools_need_tools(tmp_path: Path) -> None:
    text = EVERY_WORD.replace("    tools: [transfer, switch_language]\n    languages: [de, fr]\n", "")
    text = text.replace("when: {language: [fr]}", "when: {minutes: 3}")
    assert [problem.split(": ", 1)[1] for problem in problems(tmp_path, text)] == [ALONE[0]]


def test_a_stand_in_is_a_contact_or_a_mailbox_and_not_both(tmp_path: Path) -> None:
    text = EVERY_WORD.replace("  standby: {dial", '  night: {dial: ["1"]}\n  standby: {dial')
    assert [problem.split(": ", 1)[1] for problem in problems(tmp_path, text)] == [ALONE[1]]


@pytest.mark.parametrize(
    ("actions", "is_circle"),
    [
        ("[{goto: c}]", True),
        ("[{play: closed.wav}, {goto: c}]", True),
        ("[{menu: {1: [{hang_up: true}], timeout: [{goto: c}]}}]", True),
        ("[{menu: {1: [{hang_up: true}], other: [{goto: c}]}}]", True),
        ("[{menu: {1: [{hang_up: true}]}}, {goto: c}]", True),
        ('[{collect: {into: x, failed: [{goto: c}]}}, {say: "{vars.x}"}]', True),
        ('[{hook: {url: "https://a.example/", failed: [{goto: c}]}}]', True),
        ("[{menu: {1: [{goto: c}]}}]", False),
        ("[{menu: {1: [{menu: {2: [{hang_up: true}], timeout: [{goto: c}]}}]}}]", False),
        ("[{hang_up: true}]", False),
    ],
)
def test_a_circle_that_no_caller_leaves_by_doing_something_is_refused(
    tmp_path: Path, actions: str, is_circle: bool
) -> None:
    routes = f"  - {{name: b, do: {actions}}}\n  - {{name: c, do: [{{goto: b}}]}}\n  - {{name: a, do: [{{goto: b}}]}}\n"
    text = plan_of(routes)
    if not is_circle:
        expected = ["'c' is never reached", "'a' is never reached"]
        found = [problem.split("route ", 1)[1].split(":")[0] for problem in problems(tmp_path, text)]
        assert all(problem in expected for problem in found)
    else:
        assert ALONE[2] in [problem.split(": ", 1)[1] for problem in problems(tmp_path, text)]


def test_a_route_that_others_go_to_needs_no_call_of_its_own(tmp_path: Path) -> None:
    routes = "  - {name: all, do: [{menu: {1: [{goto: more}]}}]}\n  - {name: more, do: [{hang_up: true}]}\n"
    assert [route.name for route in load_plan(tmp_path, plan_of(routes)).routes] == ["all", "more"]
    assert "is never reached" in problems(tmp_path, plan_of(routes.replace("goto: more", "goto: all")))[0]


def test_what_the_configuration_has_to_keep_is_asked_of_it(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, EVERY_WORD)
    assert plan.check_references(["default"], ["pbx"]) == ()
    found = plan.check_references(["default"], ["pbx"], keeps_callers=False)
    assert [str(problem).split(": ", 1)[1] for problem in found] == [ALONE[3]]


def test_a_voice_is_needed_where_the_plan_itself_speaks(tmp_path: Path) -> None:
    text = plan_of("  - {name: a, do: [{say: Bye.}, {hang_up: true}]}\n")
    (problem,) = load_plan(tmp_path, text).check_references(["other"], [])
    assert problem.message == "the configuration has no realtime session 'default'"
    assert (problem.line, problem.column) == (5, 26)
    (problem,) = load_plan(tmp_path, text.replace("UTC", "UTC\nuse: voice")).check_references(["default"], [])
    assert (problem.line, problem.message) == (4, "the configuration has no realtime session 'voice'")
    silent = plan_of("  - {name: a, do: [{play: closed.wav}]}\n")
    assert load_plan(tmp_path, silent).check_references([], []) == ()


@pytest.mark.parametrize(
    "written",
    ["say: Hello.  # to all", 'say: "Press # now." # to all', "say: Press#1", "say: >\n            Press # now."],
)
def test_what_is_clearly_a_comment_or_a_text_is_no_problem(tmp_path: Path, written: str) -> None:
    text = plan_of(f"  - name: a  # the first\n    # : no key\n    do:\n      - {written}\n")
    assert load_plan(tmp_path, text).routes


def test_a_text_of_a_variable_that_ends_in_a_comment_is_refused(tmp_path: Path) -> None:
    text = plan_of("  - name: a\n    do:\n      - set:\n          order: number # 1\n      - say: Hi.\n")
    assert [problem.split(" (")[0] for problem in problems(tmp_path, text)] == [
        "plan.yaml:8:18: the text ends before '# 1', which is a comment"
    ]


@pytest.mark.parametrize(
    ("head", "route", "place"),
    [
        ("", "      - say:\n          text: Press #1 now.\n          protect: true\n", "8:17"),
        ("phrases:\n  callback: We call #1 back.\n", "      - hang_up: true\n", "5:13"),
        ("sessions:\n  s:\n    use: d\n    protect: Press #1 now.\n", "      - session: s\n", "7:14"),
        ("sessions:\n  s:\n    use: d\n    protect:\n      - Hi.\n      - Press #1.\n", "      - session: s\n", "9:9"),
    ],
)
def test_a_text_that_a_comment_cuts_is_told_wherever_it_stands(
    tmp_path: Path, head: str, route: str, place: str
) -> None:
    (told,) = problems(tmp_path, plan_of(f"  - name: a\n    do:\n{route}", head))
    assert told.startswith(f"plan.yaml:{place}: the text ends before '#1")


def test_a_key_without_quotes_that_is_a_comment_is_told(tmp_path: Path) -> None:
    text = EVERY_WORD.replace(
        'when: {dtmf: "0", from: "@vip", hours: office, session: reception, to: 7*}', "when:\n      dtmf: #"
    ).replace(
        "  - {name: zero, when:\n      dtmf: #, do: [{transfer: desk}]}",
        "  - name: zero\n    when:\n      dtmf: #\n    do: [{transfer: desk}]",
    )
    assert [problem.split(": ", 1)[1] for problem in problems(tmp_path, text)] == [
        "'dtmf' is empty, as # without quotes begins a comment (expected text)"
    ]


IN_TURN = """hours:
  day: {mon-fri: "09:00-17:00", except: [2026-12-24]}
  noon: {mon-thu: "12:00-13:00", except: [2026-12-24, 2027-01-01]}
  holiday: {mon-fri: "12:00-13:00", except: [2027-01-01]}
  week: {mon-sun: "08:00-18:00"}
contacts:
  first: {dial: ["1"], when: FIRST, else: second}
  second: {dial: ["2"], when: SECOND, else: third}
  third: {dial: ["3"], when: THIRD}
"""


@pytest.mark.parametrize(
    ("first", "second", "third", "useless"),
    [
        ("day", "noon", "noon", ["first", "second"]),
        ("day", "noon", "day", ["first"]),
        ("day", "noon", "week", []),
        ("day", "week", "noon", ["second"]),
        ("day", "holiday", "noon", ["second"]),
        ("week", "holiday", "day", ["first"]),
    ],
)
def test_stand_ins_that_are_closed_whenever_they_are_needed_are_told(
    tmp_path: Path, first: str, second: str, third: str, useless: list[str]
) -> None:
    sections = IN_TURN.replace("FIRST", first).replace("SECOND", second).replace("THIRD", third)
    text = plan_of("  - {name: a, do: [{transfer: first}]}\n", sections)
    if not useless:
        assert load_plan(tmp_path, text).contacts
        return
    told = {
        "first": f"contact 'second' is never open while {first!r} is closed",
        "second": f"contact 'third' is never open while {second!r} is closed",
    }
    found = [problem.split(": ", 1)[1].split(" (")[0] for problem in problems(tmp_path, text)]
    assert found == [told[contact] for contact in useless]


@pytest.mark.parametrize("key", ["hook", "webhook"])
def test_secrets_of_web_services_come_from_the_environment_and_are_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    url = {"hook": "https://erp.example/{vars.order}", "webhook": "https://judge.example/"}[key]
    text = EVERY_WORD.replace(f'url: "{url}"', f'url: "{url}", headers: {{X-Key: "${{env:SECRET}}"}}')
    plan = load_plan(tmp_path, text)
    assert "s3cret" not in repr(plan)
    hooks = [action.request for action in walk(plan.routes[1].actions) if isinstance(action, HookAction)]
    verdicts = [e.trigger.request for e in plan.escalations if isinstance(e.trigger, VerdictGiven)]
    assert ("X-Key", "s3cret") in [header for request in hooks + verdicts for header in request.headers]
    bad = text.replace("${env:SECRET}", "${env:SECRET}\\n")
    assert "s3cret" not in str(problems(tmp_path, bad))
    monkeypatch.delenv("SECRET")
    assert "environment variable SECRET is not set" in problems(tmp_path, text)[0]


def test_texts_outside_of_requests_are_not_filled_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "s3cret")
    plan = load_plan(tmp_path, EVERY_WORD.replace("say: Bye.", 'say: "${env:SECRET}"'))
    assert "s3cret" not in repr(plan)


@pytest.mark.parametrize(
    ("tools", "mailbox", "problem"),
    [
        ("[transfer, switch_language, take_message]", "night", ""),
        ("[transfer, switch_language, take_message]", "nigth", "there is no mailbox 'nigth' (did you mean 'night'?)"),
        (
            "[transfer, switch_language]",
            "night",
            "'mailbox' has no effect (expected take_message among the tools)",
        ),
    ],
)
def test_a_session_leaves_what_its_model_takes_in_a_mailbox_that_there_is(
    tmp_path: Path, tools: str, mailbox: str, problem: str
) -> None:
    text = EVERY_WORD.replace("tools: [transfer, switch_language]", f"tools: {tools}\n    mailbox: {mailbox}")
    if problem:
        assert [found.split(": ", 1)[1] for found in problems(tmp_path, text)] == [problem]
    else:
        assert load_plan(tmp_path, text).sessions["reception"].mailbox == "night"
