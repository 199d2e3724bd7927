"""The session: what it is without being asked, and what an update changes, refuses and leaves alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.embedded.conversation_desk import HANG_UP_TOOL, TRANSFER_TOOL, UNIX_TIME, Desk, calls, kinds, only, refusal


def updated(desk: Desk, **session: Any) -> dict[str, Any]:
    result: dict[str, Any] = only(desk.update(**session), "session.updated")["session"]
    return result


def test_session_is_created_before_all_else_with_the_defaults_of_the_real_server() -> None:
    desk = Desk()
    assert kinds(desk.events) == ["session.created"]
    session = desk.events[0]["session"]
    assert session.pop("id").startswith("sess_")
    assert session.pop("instructions")
    assert session == {
        "type": "realtime",
        "object": "realtime.session",
        "model": "model-of-the-url",
        "expires_at": int(UNIX_TIME) + 3600,
        "output_modalities": ["audio"],
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "truncation": "auto",
        "tracing": None,
        "prompt": None,
        "include": None,
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 200,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": {"type": "audio/pcm", "rate": 24000}, "voice": "marin", "speed": 1.0},
        },
    }


def test_update_answers_with_the_whole_session_and_keeps_what_it_does_not_name() -> None:
    desk = Desk()
    before = desk.events[0]["session"]
    session = updated(desk, audio={"input": {"turn_detection": {"silence_duration_ms": 640}}})
    before["audio"]["input"]["turn_detection"]["silence_duration_ms"] = 640
    assert session == before


def test_updates_add_up() -> None:
    desk = Desk()
    updated(desk, instructions="Be brief.")
    updated(desk, audio={"output": {"voice": "cedar"}})
    session = updated(desk, audio={"output": {"speed": 1.25}})
    assert session["instructions"] == "Be brief."
    assert session["audio"]["output"]["voice"] == "cedar"
    assert session["audio"]["output"]["speed"] == 1.25


def test_g711_has_no_rate() -> None:
    audio = {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcma"}}}
    session = updated(Desk(), audio=audio)
    assert session["audio"]["input"]["format"] == {"type": "audio/pcmu"}
    assert session["audio"]["output"]["format"] == {"type": "audio/pcma"}


def test_format_goes_back_to_pcm() -> None:
    desk = Desk()
    updated(desk, audio={"input": {"format": {"type": "audio/pcmu"}}})
    session = updated(desk, audio={"input": {"format": {"type": "audio/pcm", "rate": 24000}}})
    assert session["audio"]["input"]["format"] == {"type": "audio/pcm", "rate": 24000}


@pytest.mark.parametrize("name", ["transcription", "noise_reduction", "turn_detection"])
def test_null_switches_an_input_setting_off(name: str) -> None:
    desk = Desk()
    inputs: dict[str, Any] = {
        "transcription": {"model": "gpt-transcribe", "language": "en"},
        "noise_reduction": {"type": "near_field"},
        "turn_detection": {"type": "server_vad"},
    }
    assert updated(desk, audio={"input": inputs})["audio"]["input"][name]
    assert updated(desk, audio={"input": {name: None}})["audio"]["input"][name] is None


def test_turn_detection_comes_back_with_its_defaults() -> None:
    desk = Desk()
    updated(desk, audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.9}}})
    updated(desk, audio={"input": {"turn_detection": None}})
    session = updated(desk, audio={"input": {"turn_detection": {"type": "server_vad"}}})
    assert session["audio"]["input"]["turn_detection"]["threshold"] == 0.5


def test_other_kind_of_turn_detection_inherits_nothing() -> None:
    desk = Desk()
    updated(desk, audio={"input": {"turn_detection": {"threshold": 0.9, "create_response": False}}})
    session = updated(desk, audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "high"}}})
    assert session["audio"]["input"]["turn_detection"] == {
        "type": "semantic_vad",
        "eagerness": "high",
        "create_response": True,
        "interrupt_response": True,
    }


def test_tools_are_replaced_as_a_whole_and_shown_as_given() -> None:
    desk = Desk()
    assert updated(desk, tools=[TRANSFER_TOOL, HANG_UP_TOOL])["tools"] == [TRANSFER_TOOL, HANG_UP_TOOL]
    assert updated(desk, tools=[HANG_UP_TOOL])["tools"] == [HANG_UP_TOOL]
    assert updated(desk, tools=[])["tools"] == []


def test_empty_instructions_clear_them() -> None:
    assert updated(Desk(), instructions="")["instructions"] == ""


@pytest.mark.parametrize(
    ("session", "code", "parameter"),
    [
        ({"colour": "red"}, "unknown_parameter", "session.colour"),
        ({"id": "sess_1"}, "unknown_parameter", "session.id"),
        ({"type": "transcription"}, "invalid_value", "session.type"),
        ({"model": "another"}, "invalid_value", "session.model"),
        ({"output_modalities": ["audio", "text"]}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": []}, "invalid_value", "session.output_modalities"),
        ({"output_modalities": ["smoke"]}, "invalid_value", "session.output_modalities[0]"),
        ({"max_output_tokens": 0}, "invalid_value", "session.max_output_tokens"),
        ({"tools": [{"name": "f"}]}, "missing_required_parameter", "session.tools[0].type"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
        ({"tools": [{"type": "function", "name": "a b"}]}, "invalid_value", "session.tools[0].name"),
        ({"audio": {"input": {"gain": 2}}}, "unknown_parameter", "session.audio.input.gain"),
        ({"audio": {"input": {"format": {"type": "audio/opus"}}}}, "invalid_value", "session.audio.input.format.type"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 16000}}}},
            "invalid_value",
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"format": {"type": "audio/pcmu", "rate": 8000}}}},
            "unknown_parameter",
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"threshold": 1.5}}}},
            "invalid_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"idle_timeout_ms": 100}}}},
            "invalid_value",
            "session.audio.input.turn_detection.idle_timeout_ms",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "psychic"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "semantic_vad", "threshold": 0.4}}}},
            "unknown_parameter",
            "session.audio.input.turn_detection.threshold",
        ),
        ({"audio": {"output": {"speed": 1.6}}}, "invalid_value", "session.audio.output.speed"),
    ],
)
def test_unusable_update_is_refused_as_a_whole(session: dict[str, Any], code: str, parameter: str) -> None:
    desk = Desk()
    assert refusal(desk.update(**{"instructions": "Changed?", **session})) == (code, parameter)
    assert updated(desk) == desk.events[0]["session"]


def test_session_without_a_type_is_refused() -> None:
    events = Desk().send("session.update", session={"instructions": ""}, event_id="c9")
    assert refusal(events) == ("missing_required_parameter", "session.type")
    assert events[0]["error"]["event_id"] == "c9"


def test_voice_is_locked_once_the_assistant_has_spoken() -> None:
    desk = Desk()
    updated(desk, audio={"output": {"voice": "sage"}})
    desk.respond()
    events = desk.update(instructions="Changed?", audio={"output": {"voice": "cedar"}})
    assert refusal(events) == ("cannot_update_voice", "session.audio.output.voice")
    session = updated(desk, audio={"output": {"voice": "sage", "speed": 1.1}})
    assert session["audio"]["output"]["voice"] == "sage"
    assert session["instructions"] != "Changed?"


def test_written_answers_do_not_lock_the_voice() -> None:
    desk = Desk()
    updated(desk, output_modalities=["text"])
    desk.respond()
    assert updated(desk, audio={"output": {"voice": "cedar"}})["audio"]["output"]["voice"] == "cedar"


def tool_named(*contacts: str) -> dict[str, Any]:
    """A transfer tool for `contacts`."""
    contact = {"type": "string", "enum": list(contacts)}
    return {"type": "function", "name": "transfer", "parameters": {"type": "object", "properties": {"to": contact}}}


@pytest.mark.parametrize("name", ["", "__", "日本"])
def test_contact_that_cannot_be_pronounced_leaves_the_others_to_be_asked_for(name: str) -> None:
    desk = Desk()
    updated(desk, tools=[tool_named(name, "sales")])
    desk.write("Connect me to sales")
    assert calls(desk.respond()) == [("transfer", {"to": "sales"})]


@pytest.mark.parametrize(("depth", "answer"), [(60, "session.updated"), (61, "error"), (400, "error")])
def test_tool_is_shown_or_refused_for_its_depth(depth: int, answer: str) -> None:
    parameters: dict[str, Any] = {}
    for _ in range(depth - 1):
        parameters = {"a": parameters}
    events = Desk().update(tools=[{"type": "function", "name": "f", "parameters": parameters}])
    assert kinds(events) == [answer]


def test_tool_servers_are_accepted_told_to_be_out_of_reach_and_their_keys_not_shown() -> None:
    desk = Desk()
    server = {
        "type": "mcp",
        "server_label": "shop",
        "server_url": "https://shop.example/mcp",
        "authorization": "secret",
    }
    events = desk.update(tools=[server, HANG_UP_TOOL])
    assert kinds(events) == ["session.updated", "mcp_list_tools.in_progress", "mcp_list_tools.failed"]
    assert events[1]["item_id"] == events[2]["item_id"]
    assert "secret" not in str(desk.events)
    assert kinds(desk.update(instructions="The same servers.")) == ["session.updated"]
    assert refusal(desk.update(tools=[{**server, "port": 1}])) == ("unknown_parameter", "session.tools[0].port")


@pytest.mark.parametrize(
    ("session", "parameter"),
    [
        ({"truncation": {"type": "retention_ratio", "retention_ratio": 0.8, "ratio": 1}}, "session.truncation.ratio"),
        ({"tracing": {"workflow": "x"}}, "session.tracing.workflow"),
        ({"reasoning": {"effort": "low", "x": 1}}, "session.reasoning.x"),
        ({"prompt": {"id": "pmpt_1", "x": 1}}, "session.prompt.x"),
    ],
)
def test_members_of_settings_that_have_no_effect_are_known_all_the_same(
    session: dict[str, Any], parameter: str
) -> None:
    assert refusal(Desk().update(**session)) == ("unknown_parameter", parameter)
