"""Questions beside the conversation: each gets one answer, and the conversation's own replies notice nothing."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import ProviderError, ProviderRefused, ProviderUnavailable
from gateway.realtime.session import (
    Answered,
    AudioDelta,
    ResponseFinished,
    ResponseStarted,
    SessionEvent,
    SessionFailed,
    Usage,
)
from tests.support.openai_peer import Peer

BUSY = "conversation_already_has_active_response"


class Asker(Peer):
    """A peer that repeats a question's metadata, as the real one does."""

    def ask(self, question_id: str) -> dict[str, Any]:
        """The event that asked."""
        self.protocol.ask(question_id, "Was it urgent?")
        return self.drain()[-1]

    def take_up(self, asked: dict[str, Any], response_id: str) -> list[SessionEvent]:
        return self.send("response.created", response=self.reply_to(asked, response_id))

    def answer(self, asked: dict[str, Any], response_id: str, **response: object) -> list[SessionEvent]:
        return self.send("response.done", response=self.reply_to(asked, response_id) | response)

    def reply_to(self, asked: dict[str, Any], response_id: str) -> dict[str, Any]:
        metadata = asked["response"]["metadata"]
        return {"id": response_id, "conversation_id": None, "metadata": metadata, "status": "completed", "output": []}


def written(text: str) -> list[dict[str, Any]]:
    return [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}]


def errors(told: list[SessionEvent]) -> list[ProviderError | None]:
    return [event.error for event in told if isinstance(event, Answered)]


def test_question_is_asked_in_writing_beside_the_conversation() -> None:
    asked = Asker().ask("q" * 5000)["response"]
    assert (asked["conversation"], asked["output_modalities"], asked["tool_choice"]) == ("none", ["text"], "none")
    assert asked["instructions"] == "Was it urgent?"
    assert all(len(key) <= 64 and len(value) <= 512 for key, value in asked["metadata"].items())


def test_several_questions_run_beside_the_conversations_reply() -> None:
    peer = Asker()
    peer.begin("resp_1")
    first, second, third = peer.ask("one"), peer.ask("two"), peer.ask("three")
    assert peer.take_up(second, "resp_q2") == []
    assert peer.take_up(first, "resp_q1") == []
    assert len(peer.speak(b"a", response_id="resp_1")) == 1
    usage = {"input_tokens": 7, "input_token_details": {"cached_tokens": 6}}
    told = peer.answer(second, "resp_q2", output=written("Yes."), usage=usage)
    assert told == [Answered(question_id="two", text="Yes.", usage=Usage(input_tokens=7, cached_tokens=6))]
    assert isinstance(peer.end("resp_1")[-1], ResponseFinished)
    assert peer.answer(first, "resp_q1", output=written("No."))[0] == Answered(question_id="one", text="No.")
    assert peer.answer(third, "resp_q3", output=written("3"))[0] == Answered(question_id="three", text="3")


def test_reply_can_be_asked_for_while_a_question_is_out_and_after_it() -> None:
    peer = Asker()
    asked = peer.ask("q")
    peer.take_up(asked, "resp_q")
    peer.take()
    peer.protocol.respond(None)
    assert peer.take() == ["response.create"]
    peer.begin("resp_1")
    peer.answer(asked, "resp_q")
    peer.protocol.respond("again")
    assert peer.take() == []
    peer.end("resp_1")
    assert peer.take() == ["response.create"]


def test_what_a_question_writes_or_speaks_is_not_heard() -> None:
    peer = Asker()
    peer.take_up(peer.ask("q"), "resp_q")
    where = {"response_id": "resp_q", "item_id": "item_q", "output_index": 0, "content_index": 0}
    assert peer.send("response.output_text.delta", **where, delta="Y") == []
    assert peer.send("response.output_text.done", **where, text="Yes") == []
    assert peer.send("response.output_audio_transcript.done", **where, transcript="Yes") == []
    assert peer.speak(b"a", "item_q", "resp_q") == []
    assert peer.call("c1", "resp_q") == []
    assert [type(event) for event in peer.speak(b"a", "item_1", "resp_1")] == [AudioDelta]


def test_refused_question_is_answered_with_the_error_and_no_reply_is_asked_for_again() -> None:
    peer = Asker()
    peer.begin("resp_1")
    peer.protocol.respond("next")
    asked = peer.ask("q")
    told = peer.error(BUSY, event_id=asked["event_id"])
    (error,) = errors(told)
    assert isinstance(error, ProviderRefused)
    assert len(told) == 1
    peer.take()
    peer.end("resp_1")
    assert peer.take() == ["response.create"]
    assert peer.answer(asked, "resp_q") == []


def test_refusal_that_names_no_event_is_the_waiting_replys_and_then_the_questions() -> None:
    peer = Asker()
    peer.protocol.respond("hello")
    peer.ask("q")
    assert peer.error("bad_response_create") != []  # the reply's
    assert errors(peer.error("bad_response_create"))[0] is not None
    assert errors(peer.error("bad_response_create")) == []


@pytest.mark.parametrize(
    ("response", "kind", "code"),
    [
        (
            {"status": "failed", "status_details": {"error": {"code": "server_error"}}},
            ProviderUnavailable,
            "server_error",
        ),
        ({"status": "failed", "status_details": None}, ProviderRefused, "error"),
        (
            {"status": "cancelled", "status_details": {"reason": "client_cancelled"}},
            ProviderUnavailable,
            "client_cancelled",
        ),
        (
            {"status": "incomplete", "status_details": {"reason": "max_output_tokens"}},
            ProviderRefused,
            "max_output_tokens",
        ),
        ({"status": "incomplete"}, ProviderRefused, "incomplete"),
    ],
)
def test_question_that_ends_otherwise_is_answered_once_with_an_error(
    response: dict[str, Any], kind: type[ProviderError], code: str
) -> None:
    peer = Asker()
    asked = peer.ask("q")
    peer.take_up(asked, "resp_q")
    (answered,) = peer.answer(asked, "resp_q", **response)
    assert isinstance(answered, Answered)
    assert type(answered.error) is kind
    assert answered.error.code == code
    assert peer.answer(asked, "resp_q") == []


def test_question_that_fails_for_good_ends_the_session() -> None:
    peer = Asker()
    asked = peer.ask("one")
    details = {"error": {"code": "insufficient_quota"}}
    told = peer.answer(asked, "resp_q", status="failed", status_details=details)
    assert [type(event) for event in told] == [Answered, SessionFailed]


def test_provider_that_repeats_no_metadata_is_understood_by_the_conversation_it_names() -> None:
    peer = Asker()
    peer.ask("one")
    peer.ask("two")
    for response_id in ("resp_q1", "resp_q2"):
        assert peer.send("response.created", response={"id": response_id, "conversation_id": None}) == []
    started = peer.send("response.created", response={"id": "resp_1", "conversation_id": "conv_1"})
    assert started == [ResponseStarted(response_id="resp_1")]
    second = peer.send("response.done", response={"id": "resp_q2", "conversation_id": None, "output": written("2")})
    first = peer.send("response.done", response={"id": "resp_q1", "conversation_id": None, "output": written("1")})
    assert second == [Answered(question_id="two", text="2")]
    assert first == [Answered(question_id="one", text="1")]


def test_reply_of_no_conversation_is_the_conversations_where_nobody_asked() -> None:
    peer = Peer()
    assert len(peer.send("response.created", response={"id": "resp_1", "conversation_id": None})) == 1
