"""The dialogue: what a brain file may hold, and what is answered to words, keys and tools."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.embedded.brain import (
    RECEPTION,
    Call,
    Dialogue,
    Heard,
    Intent,
    Reply,
    Say,
    ToolCallPlan,
    ToolResult,
    fill,
    is_failure,
    load_script,
    quoted_text,
    spoken_name,
)
from gateway.embedded.phrasebook import Phrasebook
from gateway.embedded.session import FunctionTool
from gateway.errors import ConfigurationError

SCRIPT = load_script(RECEPTION)
HANG_UP = FunctionTool(type="function", name="hang_up")


def transfer(*contacts: str, **properties: Any) -> FunctionTool:
    """A tool that connects to one of `contacts`."""
    known = {"contact": {"type": "string", "enum": list(contacts)}, **properties}
    parameters = {"type": "object", "properties": known, "required": list(known)}
    return FunctionTool(type="function", name="transfer", parameters=parameters)


def dialogue() -> Dialogue:
    book = Phrasebook(SCRIPT)
    return Dialogue(SCRIPT, lambda tools: book.phrases(tools).grammar)


def answer(text: str, *tools: FunctionTool) -> Reply:
    return dialogue().answer(Heard(text), tools)


def words(reply: Reply) -> str:
    return " ".join(action.text for action in reply if isinstance(action, Say))


def called(reply: Reply) -> list[tuple[str, dict[str, str]]]:
    return [(action.name, json.loads(action.arguments)) for action in reply if isinstance(action, Call)]


# ---- what the shipped dialogue understands -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "intent"),
    [
        ("What are your opening hours?", "hours"),
        ("When are you open today?", "hours"),
        ("Are you open on Saturday?", "hours"),
        ("Where are you located?", "place"),
        ("What's your address?", "place"),
        ("Who are you?", "identity"),
        ("Are you a robot?", "identity"),
        ("Yes, please.", "confirm"),
        ("Thank you very much!", "thanks"),
        ("Hello", "hello"),
        ("What can you do?", "help"),
    ],
)
def test_question_is_answered_with_what_its_intent_says(text: str, intent: str) -> None:
    assert answer(text) == (Say(SCRIPT.intents[intent].reply),)


@pytest.mark.parametrize(
    "text",
    [
        "I would like to speak to sales.",
        "sales",
        "the sales department please",
        "can I talk to the sales team",
        "Could you connect me with sales?",
        "I need sales",
    ],
)
def test_caller_is_connected_to_whom_they_ask_for(text: str) -> None:
    reply = answer(text, transfer("support", "sales"))
    assert words(reply) == "One moment, I am connecting you to sales."
    assert called(reply) == [("transfer", {"contact": "sales"})]


def test_contact_is_called_by_the_name_of_the_tool_and_spoken_as_words() -> None:
    reply = answer("connect me to the front desk", transfer("Front_Desk", "sales"))
    assert words(reply) == "One moment, I am connecting you to front desk."
    assert called(reply) == [("transfer", {"contact": "Front_Desk"})]


def test_contact_that_is_not_offered_is_not_promised() -> None:
    assert answer("connect me to marketing", transfer("sales")) == (Say(SCRIPT.fallback[0]),)


@pytest.mark.parametrize(
    ("contacts", "chosen"),
    [(("billing", "support", "operator"), "operator"), (("billing", "sales"), "sales"), (("billing", "it"), "billing")],
)
def test_person_is_the_preferred_contact_that_is_offered(contacts: tuple[str, ...], chosen: str) -> None:
    reply = answer("I want to talk to a real person", transfer(*contacts))
    assert called(reply) == [("transfer", {"contact": chosen})]
    assert words(reply).endswith(f"connecting you to {chosen}.")


def test_other_required_texts_of_the_tool_are_filled() -> None:
    tool = transfer("sales", reason={"type": "string"}, priority={"type": "integer"})
    ((_, arguments),) = called(answer("sales", tool))
    assert arguments == {"contact": "sales", "reason": "The caller asked for sales."}


def test_without_the_tool_the_caller_is_told_so() -> None:
    reply = answer("I want to talk to a real person")
    assert reply == (Say(SCRIPT.intents["person"].without_tool),)


def test_farewell_hangs_up_where_that_is_offered() -> None:
    assert called(answer("goodbye", HANG_UP)) == [("hang_up", {})]
    assert called(answer("goodbye")) == []
    assert words(answer("goodbye")) == words(answer("goodbye", HANG_UP)) != ""


@pytest.mark.parametrize("text", ["My printer is on fire.", "", "Bananas grow on plants", "sail the seas"])
def test_what_is_not_understood_is_asked_back(text: str) -> None:
    assert answer(text, transfer("sales")) == (Say(SCRIPT.fallback[0]),)


def test_caller_who_stays_unclear_hears_another_question_each_time() -> None:
    talk = dialogue()
    heard = [words(talk.answer(None, ())) for _ in range(3)]
    assert heard == [SCRIPT.fallback[0], SCRIPT.fallback[1], SCRIPT.fallback[0]]


def test_understanding_goes_by_the_tools_that_are_offered() -> None:
    assert dialogue().understands("talk to billing", (transfer("billing"),))
    assert not dialogue().understands("talk to billing", (transfer("sales"),))


# ---- unclear words -------------------------------------------------------------------------------------------------


def test_unclear_request_is_confirmed_and_then_carried_out() -> None:
    talk, tools = dialogue(), (transfer("sales"), HANG_UP)
    asked = talk.answer(Heard("talk to sales", is_certain=False), tools)
    assert asked == (Say("Did you say: talk to sales?"),)
    assert called(talk.answer(Heard("yes"), tools)) == [("transfer", {"contact": "sales"})]


def test_unclear_request_that_is_denied_is_dropped() -> None:
    talk, tools = dialogue(), (transfer("sales"), HANG_UP)
    talk.answer(Heard("talk to sales", is_certain=False), tools)
    assert talk.answer(Heard("no"), tools) == (Say(SCRIPT.prompt),)
    assert talk.answer(Heard("yes"), tools) == (Say(SCRIPT.intents["confirm"].reply),)


@pytest.mark.parametrize("between", ["when are you open", "my printer is on fire"])
def test_question_counts_for_the_next_answer_only(between: str) -> None:
    talk, tools = dialogue(), (transfer("sales"), HANG_UP)
    talk.answer(Heard("talk to sales", is_certain=False), tools)
    talk.answer(Heard(between), tools)
    assert called(talk.answer(Heard("yes"), tools)) == []


def test_unclear_question_that_moves_nothing_is_answered() -> None:
    reply = dialogue().answer(Heard("when are you open", is_certain=False), ())
    assert reply == (Say(SCRIPT.intents["hours"].reply),)


# ---- keys, trouble, tools ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["The caller pressed the key 0", "The caller pressed keys: 0", "Pressed key 0 "])
def test_key_means_what_its_intent_says(text: str) -> None:
    assert called(dialogue().notice(text, (transfer("operator"),))) == [("transfer", {"contact": "operator"})]


def test_key_without_a_meaning_is_asked_back() -> None:
    assert dialogue().notice("The caller pressed keys 9 9", ()) == (Say(SCRIPT.fallback[0]),)


def test_trouble_told_by_the_system_is_passed_on() -> None:
    assert dialogue().notice("The transfer failed.", ()) == (Say(SCRIPT.trouble),)
    assert dialogue().notice("The line is free.", ()) == (Say(SCRIPT.result),)


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            ToolResult("transfer", '{"contact": "front_desk"}', '{"status": "busy"}'),
            "I am sorry, front desk cannot be reached at the moment. Is there anything else I can do for you?",
        ),
        (ToolResult("transfer", '{"contact": "sales"}', '{"status": "ok"}'), ""),
        (ToolResult("weather", "{}", "sunny"), SCRIPT.result),
        (ToolResult("weather", "{}", "Error: no such place"), SCRIPT.trouble),
        (ToolResult("hang_up", "{}", '{"error": "x"}'), SCRIPT.trouble),
    ],
)
def test_outcome_of_a_tool_is_told(result: ToolResult, expected: str) -> None:
    assert words(dialogue().report(result)) == expected


@pytest.mark.parametrize("output", ['{"status": "shipped"}', '{"result": {"status": "shipped"}}'])
def test_what_a_tool_gave_is_filled_in_wherever_the_client_puts_it(output: str) -> None:
    intent = Intent(phrases=("my order",), reply="", call=ToolCallPlan(tool="lookup"), succeeded="It is {status}.")
    script = SCRIPT.model_copy(update={"intents": {"order": intent}})
    book = Phrasebook(script)
    told = Dialogue(script, lambda tools: book.phrases(tools).grammar).report(ToolResult("lookup", "{}", output))
    assert words(told) == "It is shipped."


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ('{"error": "no answer"}', True),
        ('{"error": ""}', False),
        ('{"ok": false}', True),
        ('{"ok": true}', False),
        ('{"status": "Refused"}', True),
        ('{"result": "busy"}', True),
        ('{"status": "connected"}', False),
        ("ERROR 500", True),
        ("it failed", True),
        ("done", False),
        ("[]", False),
        ("7", False),
    ],
)
def test_failure_is_read_from_any_kind_of_output(output: str, expected: bool) -> None:
    assert is_failure(output) is expected


# ---- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("instructions", "expected"),
    [
        ('Say "Good day."', "Good day."),
        ('Say "He said "no" twice."', 'He said "no" twice.'),
        ("Say “Welcome”", "Welcome"),
        ("Be polite.", None),
        ('An empty "" quote', None),
        (None, None),
    ],
)
def test_quoted_words_are_found(instructions: str | None, expected: str | None) -> None:
    assert quoted_text(instructions) == expected


def test_names_are_spoken_as_words() -> None:
    assert spoken_name("front_desk") == spoken_name("Front-Desk") == spoken_name("front.desk") == "front desk"
    assert spoken_name("room_7") == "room seven"


def test_unknown_fields_are_left_out() -> None:
    assert fill("To {contact}, {time}!", {"contact": "sales"}) == "To sales, !"


# ---- files ---------------------------------------------------------------------------------------------------------

SMALLEST: dict[str, Any] = {
    "name": "x",
    "greeting": "Hello.",
    "fallback": ["Pardon?"],
    "intents": {"a": {"phrases": ["hello"], "reply": "Hi."}},
}


def load(tmp_path: Path, **changes: Any) -> None:
    path = tmp_path / "brain.yaml"
    path.write_text(json.dumps(SMALLEST | changes))
    load_script(path)


def test_small_brain_file_is_enough(tmp_path: Path) -> None:
    load(tmp_path)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"intents": {"a": {"phrases": ["[hello"], "reply": "Hi."}}}, "never closed"),
        ({"intents": {"a": {"phrases": [""], "reply": "Hi."}}}, "empty"),
        ({"intents": {"a": {"phrases": ["to {whom}"], "reply": "Hi."}}}, "unknown slot 'whom'"),
        ({"fallback": []}, "fallback"),
        ({"affirmative": "yes"}, "'yes'"),
        ({"greeeting": "Hello."}, "greeeting"),
    ],
)
def test_brain_file_that_cannot_be_used_is_told_at_its_place(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        load(tmp_path, **changes)


def test_brain_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"brain\.yaml"):
        load_script(tmp_path / "brain.yaml")
