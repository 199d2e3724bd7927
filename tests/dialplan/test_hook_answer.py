"""What a web service may tell a plan to do, and what not."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.dialplan import actions as a
from gateway.dialplan.hook_answer import MAX_ACTIONS, HookAnswer, HookRefusal, read_hook_answer
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.dialplan.template import parse_template
from tests.support.plans import write_sound

PLAN = """
version: 1
name: hooked
timezone: UTC
hours:
  office: {mon-fri: "09:00-17:00"}
contacts:
  sales: {dial: [sip:6001]}
  anyone: {pattern: "/[1-7][0-9]{3}/"}
mailboxes:
  night: {say: Leave a message.}
sessions:
  desk: {use: default}
routes:
  - {name: ask, match: {to: "1"}, do: [{hook: {url: "https://hook.example/", sets: [who, digits]}}, {play: menu.wav}]}
  - {name: night, do: [{menu: {play: choose.wav, 1: [{voicemail: night}]}}]}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Dialplan:
    folder = tmp_path_factory.mktemp("plan")
    for name in ("menu.wav", "choose.wav", "other.wav"):
        write_sound(folder / name)
    (folder / "plan.yaml").write_text(PLAN)
    return load_dialplan(folder / "plan.yaml")


def text(words: str) -> a.SayAction:
    return a.SayAction(text=parse_template(words)[0])


def test_actions_are_those_of_a_plan_and_values_are_texts(plan: Dialplan) -> None:
    answer = read_hook_answer(
        plan,
        {
            "do": [
                {"say": "One moment, {vars.who}. Open: {hours.office}."},
                {"menu": {"say": "One or two?", "1": [{"transfer": "sales"}], "2": [{"session": "desk"}], "tries": 1}},
                {"wait": 0.5},
                {"transfer": {"to": "anyone", "number": "{vars.digits}"}},
                {"goto": "night"},
            ],
            "set": {"who": "Ann {caller.number}", "digits": 4711},
        },
    )
    assert isinstance(answer, HookAnswer), answer
    assert answer.values == {"who": "Ann {caller.number}", "digits": "4711"}
    say, menu, wait, transfer, goto = answer.actions
    assert say == text("One moment, {vars.who}. Open: {hours.office}.")
    assert isinstance(menu, a.MenuAction)
    assert (menu.choices["1"], menu.tries) == ((a.TransferAction(contact="sales"),), 1)
    assert wait == a.WaitAction(seconds=0.5)
    assert isinstance(transfer, a.TransferAction)
    assert goto == a.GotoAction(route="night")


def test_an_answer_may_fill_in_what_it_sets_itself(plan: Dialplan) -> None:
    do = [{"set": {"sum": "5"}}, {"collect": {"into": "pin"}}, {"say": "{vars.sum} and {vars.pin} for {vars.who}"}]
    answer = read_hook_answer(plan, {"do": do})
    assert isinstance(answer, HookAnswer), answer
    assert len(answer.actions) == 3


@pytest.mark.parametrize("nothing", [None, {}, {"do": []}, {"set": {}}, {"do": None}])
def test_an_answer_may_want_nothing(plan: Dialplan, nothing: object) -> None:
    assert read_hook_answer(plan, nothing) == HookAnswer()


def test_files_that_the_plan_plays_may_be_played(plan: Dialplan) -> None:
    answer = read_hook_answer(plan, {"do": [{"play": "menu.wav"}, {"play": "choose.wav"}]})
    assert isinstance(answer, HookAnswer)
    assert [action.file.name for action in answer.actions if isinstance(action, a.PlayAction)] == [
        "menu.wav",
        "choose.wav",
    ]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([], "the answer is not"),
        ("hang_up", "the answer is not"),
        ({"do": [{"transfer": "+4990012345"}]}, "'transfer' is '+4990012345'"),
        ({"do": [{"queue": "nobody"}]}, "there is no contact 'nobody'"),
        ({"do": [{"session": "x"}]}, "there is no session 'x'"),
        ({"do": [{"goto": "elsewhere"}]}, "there is no route 'elsewhere'"),
        ({"do": [{"voicemail": "x"}]}, "there is no mailbox 'x'"),
        ({"do": [{"play": "other.wav"}]}, "'other.wav' is no file that the plan plays"),
        ({"do": [{"play": "/etc/passwd"}]}, "'/etc/passwd' is no file that the plan plays"),
        ({"do": [{"menu": {"play": "../x.wav", "1": [{"hang_up": True}]}}]}, "is no file that the plan plays"),
        ({"do": [{"hook": {"url": "https://elsewhere.example/"}}]}, "the answer has a hook of its own"),
        (
            {"do": [{"menu": {"say": "x", "1": [{"hook": {"url": "https://elsewhere.example/"}}]}}]},
            "the answer has a hook of its own",
        ),
        ({"do": [{"transfer": "anyone"}]}, "contact 'anyone' has a pattern"),
        ({"do": [{"fly": True}]}, "fly"),
        ({"do": [{"say": "{hours.never}"}]}, "there are no opening hours 'never'"),
        ({"do": [{"say": "{nothing}"}]}, "unknown variable {nothing}"),
        ({"do": [{"say": "x", "hang_up": True}]}, "do"),
        ({"do": {"say": "x"}, "more": 1}, "unknown key 'more'"),
        ({"set": {"who": ["Ann"]}}, "who"),
        ({"set": {"who is": "Ann"}}, "who is"),
        ({"set": {"whom": "Ann"}}, "the plan has no variable 'whom'"),
        ({"do": [{"say": "{vars.whom}"}]}, "variable {vars.whom} is never set"),
    ],
)
def test_what_a_plan_could_not_say_is_refused_as_a_whole(plan: Dialplan, value: object, why: str) -> None:
    refusal = read_hook_answer(plan, value)
    assert isinstance(refusal, HookRefusal), refusal
    assert why in refusal.reason


def test_endless_answers_are_refused(plan: Dialplan) -> None:
    many = read_hook_answer(plan, {"do": [{"wait": 1}] * (MAX_ACTIONS + 1)})
    assert isinstance(many, HookRefusal)
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    assert isinstance(read_hook_answer(plan, {"do": deep}), HookRefusal)


def test_texts_of_an_answer_are_not_in_the_reason(plan: Dialplan) -> None:
    refusal = read_hook_answer(plan, {"do": [{"say": "secret 4711"}, {"goto": "x"}]})
    assert isinstance(refusal, HookRefusal)
    assert "4711" not in refusal.reason


@pytest.mark.parametrize(
    ("phrases", "lacking"), [("{}", True), ("{callback: A, callback_withheld: B, callback_invalid: C}", False)]
)
def test_what_callers_would_hear_in_another_language_is_refused(tmp_path: Path, phrases: str, *, lacking: bool) -> None:
    for name in ("menu.wav", "choose.wav"):
        write_sound(tmp_path / name)
    (tmp_path / "plan.yaml").write_text(
        PLAN.replace("timezone: UTC", f"timezone: UTC\nlanguage: tr\nphrases: {phrases}")
    )
    answer = read_hook_answer(load_dialplan(tmp_path / "plan.yaml"), {"do": [{"menu": {"1": [{"callback": "night"}]}}]})
    if lacking:
        why = "the plan has no phrases in 'tr' for callback, callback_withheld, callback_invalid"
        assert answer == HookRefusal(why)
    else:
        assert isinstance(answer, HookAnswer)
