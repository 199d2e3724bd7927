"""A plan's own tests go through its flows: choices, digits, hooks, transfers, and escalations by every trigger."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan.proof import run_tests
from gateway.errors import ConfigurationError
from tests.support.plans import load_plan

PLAN = """\
version: 1
name: flows
timezone: Europe/Berlin
hours: {office: {mon-fri: "09:00-17:00"}}
contacts:
  desk: {dial: ["1"]}
  day: {dial: ["2"], when: office, else: box}
  night: {dial: ["3"], when: office}
  rare: {dial: ["4"], quota: {per_call: 1}}
  line: {pattern: "/[1-3]{3}/"}
vars: {x: a}
mailboxes: {box: {transcript: false, notify: [{email: {to: a@b.example}}]}}
sessions:
  talk: {use: default, tools: [hang_up, switch_language], languages: [en, fr, it]}
  other: {use: default, tools: [hang_up]}
routes:
  - name: menu
    match: {to: "1"}
    do:
      - set: {kind: none, who: "{caller.name}"}
      - menu:
          say: Press, {vars.who}.
          1: [{set: {kind: sales}}, {transfer: desk}, {voicemail: box}]
          2: [{session: talk}]
          3: [{goto: digits}]
          words: {1: [sales, I want to buy], 2: [talk]}
          other: [{say: Wrong.}, {hang_up: true}]
          timeout: [{callback: {mailbox: box, number: "{caller.number}"}}]
          tries: 2
      - say: Behind.
  - name: digits
    match: {to: "2"}
    do: [{collect: {into: order, digits: 4-6, tries: 2, failed: [{say: None.}]}}, {say: "You said {vars.order}."}]
  - name: hook
    match: {to: "3"}
    do: [{hook: {url: "https://a.example/", sets: a, failed: [{say: Failed.}]}}, {session: talk}]
  - {name: plain, match: {to: "4"}, do: [{hook: {url: "https://a.example/"}}, {queue: desk}, {hang_up: true}]}
  - {name: day, match: {to: "5"}, do: [{transfer: day}, {hang_up: true}]}
  - {name: night, match: {to: "6"}, do: [{transfer: night}, {say: Nobody.}]}
  - {name: talk, match: {to: "7"}, do: [{session: talk}]}
  - name: hidden
    match: {to: "8"}
    do: [{say: "Before, {vars.x}."}, {transfer: night}, {transfer: desk}, {transfer: desk}, {set: {x: b}}]
  - {name: deaf, match: {to: "10"}, do: [{menu: {1: [{say: One.}]}}]}
  - {name: echo, match: {to: "11"}, do: [{menu: {say: "One, two, three, four.", 1: [{say: One.}], words: {1: [one]}}}]}
  - {name: whole, match: {to: "12"}, do: [{say: {text: Whole., protect: true}}, {hang_up: true}]}
  - {name: closed, match: {to: "13"}, do: [{say: Closed.}, {wait: 5s}, {set: {x: b}}, {hang_up: true}]}
  - {name: more, match: {to: "9"}, do: [{session: talk}]}
escalations:
  - {name: once, when: {dtmf: "*"}, do: [{transfer: rare}]}
  - {name: line, when: {dtmf: "#"}, do: [{transfer: {to: line, number: "{vars.x}"}}]}
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: desk}]}
  - {name: vip, when: {dtmf: "1", from: "6*"}, do: [{say: VIP.}]}
  - {name: choice, when: {dtmf: "2"}, do: [{menu: {5: [{say: Five.}]}}, {session: other}]}
  - {name: asked, when: {said: [a human, être aidé]}, do: [{transfer: desk}]}
  - {name: another, when: {said: [another]}, do: [{say: Another.}]}
  - {name: fails, when: {failed_tools: 2}, do: [{say: Fails.}]}
  - {name: again, when: {repeats: 3}, do: [{say: Again.}]}
  - {name: silent, when: {silence: 25s}, do: [{say: "There?"}, {hang_up_after: 15s}]}
  - {name: deaf, when: {not_understood: 3}, do: [{say: Deaf.}]}
  - {name: long, when: {minutes: 10}, do: [{say: Long.}]}
  - {name: dear, when: {cost_over: 0.80}, do: [{say: Dear.}]}
  - {name: most, when: {budget: 80%}, do: [{say: Most.}, {answers: short}]}
  - {name: all, when: {budget: 100%}, do: [{say: All.}, {hang_up: true}]}
  - {name: tongue, when: {language: [fr, it]}, do: [{say: Langue.}]}
  - {name: anger, when: {sentiment: [angry]}, do: [{say: Calm.}]}
  - {name: down, when: {provider_down: true, session: talk}, do: [{say: Down.}, {hang_up: true}]}
  - {name: advised, when: {webhook: {url: "https://b.example/"}}, do: [{say: Advised.}]}
tests:
"""
AT = 'at: "2026-11-20T10:00"'
CLOSED = 'at: "2026-11-20T20:00"'


def failures(folder: Path, number: int, then: str, expect: str, more: str = AT) -> tuple[str, ...]:
    case = f'  - {{call: {{to: "{number}", from: "+491", {more}}}, then: [{then}], expect: {{{expect}}}}}\n'
    (result,) = run_tests(load_plan(folder, PLAN + case)).results
    return result.failures


@pytest.mark.parametrize(
    ("number", "then", "expect"),
    [
        # menus
        (1, "", "say: 'Press, .'"),
        (1, "{dtmf: 1}", "transfer: desk, voicemail: box, vars: {kind: sales}"),
        (1, "{dtmf: 1}, {transfer: busy}", "transfer: desk, voicemail: box"),
        (1, "{said: 'Well, I want to BUY!'}", "transfer: desk"),
        (1, "{dtmf: 9}, {dtmf: 2}", "session: talk"),
        (1, "{said: pizza}, {said: talk}", "session: talk, vars: {kind: none}"),
        (1, "{dtmf: 9}, {dtmf: 8}", "say: Wrong., hang_up: true"),
        (1, "{timeout: true}", "callback: box, say: Behind."),
        (1, "{dtmf: 3}, {digits: '1234'}", "say: You said 1234., vars: {order: '1234'}"),
        # digits
        (2, "{digits: '12345#'}", "say: You said 12345."),
        (2, "{digits: '12'}, {digits: '1234567'}", "vars: {order: '123456'}"),
        (2, "{digits: '12'}, {digits: '#'}", "say: None."),
        (2, "{timeout: true}", "say: None."),
        # hooks
        (3, "{hook: failed}", "say: Failed., session: talk"),
        (3, "{hook: {do: [{say: Yes.}], set: {a: b}}}", "say: Yes., session: talk, vars: {a: b}"),
        (3, "{hook: {do: [{hang_up: true}]}}", "hang_up: true"),
        (3, "{hook: {}}, {dtmf: 0}", "transfer: desk"),
        (4, "{hook: failed}", "queue: desk, hang_up: true"),
        (4, "{hook: failed}, {transfer: answered}", "queue: desk"),
        # transfers
        (5, "{transfer: no_answer}", "transfer: day, voicemail: box, hang_up: true"),
        (5, "{transfer: answered}", "transfer: day"),
        (6, "{transfer: declined}", "transfer: night, say: Nobody."),
        # escalations
        (7, "{dtmf: 5}, {digits: '70'}", "transfer: desk"),
        (7, "{said: 'Could I talk to a HUMAN, please?'}", "transfer: desk"),
        (7, "{said: etre aide}", "transfer: desk"),
        (7, "{failed_tools: 1}, {failed_tools: 2}", "say: Fails."),
        (7, "{repeats: 3}", "say: Again."),
        (7, "{silence: 30s}, {timeout: true}", "say: 'There?', hang_up: true"),
        (7, "{silence: 30s}, {said: yes}, {silence: 26s}, {timeout: true}", "say: 'There?', hang_up: true"),
        (7, "{not_understood: 4}", "say: Deaf."),
        (7, "{minutes: 11}", "say: Long."),
        (7, "{cost_over: 0.81}", "say: Dear."),
        (7, "{budget: 85%}", "say: Most., answers: short"),
        (7, "{budget: 80%}, {budget: 100%}", "say: All., hang_up: true"),
        (7, "{budget: 100%}", "say: All., hang_up: true"),
        (7, "{language: it}", "say: Langue."),
        (7, "{sentiment: Angry}", "say: Calm."),
        (7, "{provider_down: true}", "say: Down."),
        (7, "{webhook: advised}", "say: Advised."),
        (7, "{dtmf: 2}, {dtmf: 5}", "say: Five., session: other"),
        (7, "{dtmf: 2}, {dtmf: 0}", "transfer: desk"),
        (7, "{dtmf: 0}, {transfer: busy}, {repeats: 3}", "say: Again."),
        # as a call goes: see test_rehearsed_calls.py
        (1, "{said: 'I want to buy, let us talk'}", "transfer: desk"),
        (1, "{dtmf: 0}", "transfer: desk"),
        (2, "{dtmf: 1}, {dtmf: 2}, {dtmf: 3}, {dtmf: 4}, {dtmf: '#'}", "say: You said 1234."),
        (2, "{dtmf: 1}, {dtmf: 2}, {dtmf: '#'}, {digits: '12'}", "say: None."),
        (2, "{digits: '1234'}", "say: You said 1234."),
        (3, "{dtmf: 0}, {transfer: answered}", "transfer: desk"),
        (8, "{transfer: busy}, {transfer: busy}", "say: 'Before, a.', vars: {x: b}"),
        (9, "{dtmf: '*'}, {transfer: busy}, {dtmf: '*'}, {repeats: 3}", "say: Again."),
        (9, "{said: a human and another}, {transfer: busy}, {said: a human and another}", "say: Another."),
        (9, "{dtmf: '#'}, {repeats: 3}", "say: Again."),
        # keys of escalations without a session
        (13, "", "say: Closed., hang_up: true, vars: {x: b}"),
        (13, "{dtmf: 0}", "transfer: desk, vars: {x: a}"),
        (13, "{dtmf: 2}, {dtmf: 5}", "say: Five., session: other"),
        (5, "{transfer: no_answer}, {dtmf: 0}", "transfer: desk"),
        (7, "{provider_down: true}, {dtmf: 0}", "transfer: desk"),
        (9, "{budget: 100%}, {dtmf: 0}", "transfer: desk"),
    ],
)
def test_what_comes_of_a_call_is_found_out(tmp_path: Path, number: int, then: str, expect: str) -> None:
    assert failures(tmp_path, number, then, expect) == ()


@pytest.mark.parametrize(
    ("number", "then", "expect", "failure"),
    [
        (1, "{dtmf: 1}, {transfer: answered}", "voicemail: box", "expected voicemail box, but it is: set"),
        (1, "{dtmf: 2}", "say: Behind.", "expected say Behind., but it is: set"),
        (1, "{silence: 9s}", "route: menu", "silence 9.0 happens while the caller is asked by menu"),
        (1, "", "vars: {kind: sales}", "expected vars.kind 'sales', but it is 'none'"),
        (2, "{said: hello}", "route: digits", "said 'hello' happens while the caller is asked by collect"),
        (2, "", "vars: {order: '1'}", "expected vars.order '1', but it is not set"),
        (
            9,
            "{dtmf: '*'}, {transfer: busy}, {dtmf: '*'}, {transfer: busy}",
            "route: more",
            "transfer busy happens, but",
        ),
        (9, "{dtmf: '#'}, {transfer: busy}", "route: more", "transfer busy happens, but nobody is called: line takes"),
        (9, "{dtmf: 0}, {dtmf: 0}", "route: more", "dtmf 0 happens, and nobody said what became of the transfer"),
        (10, "{said: hello}", "route: deaf", "said 'hello' happens while the caller is asked by menu without words"),
        (11, "{said: one two three four}", "route: echo", "said 'one two three four' holds words of the prompt alone"),
        (3, "{dtmf: 1}", "route: hook", "dtmf 1 happens while a hook is asked; expected hook: ... before it"),
        (
            3,
            "{hook: failed}, {timeout: true}",
            "route: hook",
            "timeout happens in a session, where nothing waits for it",
        ),
        (5, "{transfer: answered}", "hang_up: true", "expected hang_up, but it is: transfer day -> sip:2"),
        (12, "{dtmf: 0}", "route: whole", "dtmf 0 happens outside a session, where nothing reacts"),
        (13, "{dtmf: 7}", "say: Closed.", "dtmf 7 happens outside a session, where nothing reacts"),
        (13, "{said: a human}", "say: Closed.", "said 'a human' happens outside a session, where nothing reacts"),
        (5, "{transfer: no_answer}, {dtmf: '#'}", "voicemail: box", "dtmf # happens outside a session"),
        (5, "{transfer: answered}, {dtmf: 0}", "route: day", "dtmf 0 happens outside a session, where nothing reacts"),
        (7, "{repeats: 2}", "say: Again.", "expected say Again., but it is: session talk"),
        (7, "{said: inhuman}", "transfer: desk", "expected transfer desk, but it is: session talk"),
        (7, "{dtmf: 1}", "say: VIP.", "expected say VIP., but it is: session talk"),
        (7, "{repeats: 3}, {dtmf: 2}, {dtmf: 5}, {repeats: 3}", "say: Again.", "expected say Again., but it is: menu"),
        (7, "{dtmf: 2}, {dtmf: 5}, {provider_down: true}", "say: Down.", "expected say Down., but it is: menu"),
        (7, "{hook: failed}", "route: talk", "hook happens in a session, where nothing waits for it"),
    ],
)
def test_what_does_not_come_is_told(tmp_path: Path, number: int, then: str, expect: str, failure: str) -> None:
    (found, *_) = failures(tmp_path, number, then, expect)
    assert found.startswith(failure)


def test_a_closed_contact_leads_to_its_mailbox_or_to_what_stands_behind(tmp_path: Path) -> None:
    assert failures(tmp_path, 5, "", "voicemail: box, hang_up: true", CLOSED) == ()
    assert failures(tmp_path, 6, "", "say: Nobody.", CLOSED) == ()
    (failure,) = failures(tmp_path, 6, "{transfer: busy}", "say: Nobody.", CLOSED)
    assert failure.startswith("transfer busy happens, but nobody is called: night cannot be reached now")


def test_circumstances_are_those_of_the_test_call(tmp_path: Path) -> None:
    case = f'  - {{call: {{to: "7", from: "61", {AT}}}, then: [{{dtmf: "1"}}], expect: {{say: VIP.}}}}\n'
    assert run_tests(load_plan(tmp_path, PLAN + case)).is_passed


def test_facts_of_a_test_decide_its_route(tmp_path: Path) -> None:
    criteria = 'match: {name: "Bob*", diversion: "55", language: de, seen: 30d}'
    text = PLAN.replace('match: {to: "3"}', criteria)
    facts = f'name: Bobby, diversion: "55", language: [fr, de], seen: 10d, {AT}'
    case = f'  - {{call: {{to: "x", {facts}}}, expect: {{route: hook}}}}\n'
    assert run_tests(load_plan(tmp_path, text + case)).is_passed
    for old, new in (("Bobby", "Rob"), ('"55"', '"54"'), ("fr, de", "fr"), ("10d", "40d"), ("10d", "false")):
        assert not run_tests(load_plan(tmp_path, text + case.replace(old, new))).is_passed


def test_a_hook_that_answers_by_a_hook_is_refused_as_the_gateway_refuses_it(tmp_path: Path) -> None:
    further = '{hook: {do: [{menu: {1: [{hook: {url: "https://c.example/"}}]}}]}}'
    case = f'  - {{call: {{to: "3", {AT}}}, then: [{further}], expect: {{route: hook}}}}\n'
    with pytest.raises(ConfigurationError, match="has a hook of its own"):
        load_plan(tmp_path, PLAN + case)
