"""Long calls keep their beginning: a model with a small window, played over the protocol as it is on the wire."""

import itertools
import json
import random

import pytest

from gateway.media.codec import AudioFormat
from gateway.realtime.context import PAUSE_REPLIES, SUMMARY, ContextKeeper
from gateway.realtime.openai import codec
from gateway.realtime.openai.protocol import OpenAIProtocol
from gateway.realtime.openai.session import CAPABILITIES
from gateway.realtime.session import Answered, ContextOptions, SessionOptions, SessionResumed

TOKENS_PER_ITEM = 50
WINDOW = 2000
LIMIT = 1200


class SmallModel:
    """A provider whose window holds 40 items; what does not fit goes without a word, the oldest first."""

    capabilities = CAPABILITIES

    def __init__(self, *, options=None, failing=()):
        self.protocol = OpenAIProtocol(
            SessionOptions(url="ws://x", input_format=AudioFormat.PCMU, output_format=AudioFormat.PCMU)
        )
        self.keeper = ContextKeeper(options or ContextOptions(limit_tokens=LIMIT, keep_turns=3), self)
        self.items = []  # (id, kind, text), as the model has them
        self.lost = []  # what fell out of the window
        self.questions = self.replies = 0
        self.failing = set(failing)
        self.numbers = itertools.count(1)
        self.is_answering = True
        self.unanswered = []
        self.tell("session.created", session={})
        self.tell("session.updated", session={})

    # The commands of a session that the keeper uses, over the protocol.

    def ask(self, question_id, instructions):
        self.protocol.ask(question_id, instructions)
        self.read()

    def replace_items(self, item_ids, summary_id, summary):
        self.protocol.replace_items(item_ids, summary_id, summary)
        self.read()

    def read(self):
        for message in map(json.loads, self.protocol.messages_to_send()):
            handler = {
                "conversation.item.create": self.create,
                "conversation.item.delete": self.delete,
                "response.create": self.answer,
            }.get(message["type"])
            if handler is not None:
                handler(message)

    def create(self, message):
        item = message["item"]
        kind = {"function_call_output": "tool_result"}.get(item["type"], item.get("role"))
        text = item["output"] if kind == "tool_result" else item["content"][0]["text"]
        at = 0 if message.get("previous_item_id") == "root" else len(self.items)
        self.put(kind, text, item_id=item.get("id"), at=at, call_id=item.get("call_id"))

    def delete(self, message):
        known = [item for item in self.items if item[0] == message["item_id"]]
        assert known or any(item[0] == message["item_id"] for item in self.lost), "not an item of ours"
        self.items = [item for item in self.items if item not in known]

    def answer(self, message):
        response = message["response"]
        assert (response["conversation"], response["output_modalities"]) == ("none", ["text"])
        self.questions += 1
        if self.is_answering:
            self.answer_question(response["metadata"], self.questions)
        else:
            self.unanswered.append((response["metadata"], self.questions))

    def answer_question(self, metadata, number):
        """The notes hold every fact that the model can still see."""
        facts = " ".join(word for item in self.items for word in item[2].split() if word.startswith("fact-"))
        output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": facts}]}]
        common = {"id": f"q{number}", "metadata": metadata, "conversation_id": None}
        self.tell("response.created", response={**common, "status": "in_progress"})
        if number in self.failing:
            error = {"code": "server_error", "type": "server_error", "message": "no"}
            failure = {"status": "failed", "status_details": {"error": error}}
            self.tell("response.done", response={**common, "output": [], **failure})
        else:
            self.tell("response.done", response={**common, "output": output, "status": "completed"})

    # What the model does.

    def tell(self, kind, **fields):
        for event in self.protocol.receive(codec.encode({"type": kind, "event_id": "e", **fields})):
            self.keeper.hear(event)
        self.read()

    def put(self, kind, text, *, item_id=None, at=None, call_id=None):
        item_id = item_id or f"item_{next(self.numbers)}"
        self.items.insert(len(self.items) if at is None else at, (item_id, kind, text))
        while len(self.items) * TOKENS_PER_ITEM > WINDOW:
            self.lost.append(self.items.pop(0))
        types = {"tool_call": "function_call", "tool_result": "function_call_output"}
        item = {"id": item_id, "type": types.get(kind, "message"), "role": kind, "call_id": call_id or "c", "name": "n"}
        self.tell("conversation.item.added", previous_item_id=None, item=item)

    def turn(self, words, *, has_tool=False):
        """The caller says something and is answered, perhaps by way of a tool."""
        self.put("user", words)
        if has_tool:
            self.put("tool_call", "{}")
            self.put("tool_result", "fact-from-tool")
        self.put("assistant", "I see.")
        self.replies += 1
        usage = {"input_tokens": len(self.items) * TOKENS_PER_ITEM, "output_tokens": 10}
        self.tell("response.created", response={"id": f"r{self.replies}"})
        self.tell("response.done", response={"id": f"r{self.replies}", "status": "completed", "usage": usage})

    @property
    def facts(self):
        return {word for item in self.items for word in item[2].split() if word.startswith("fact-")}

    @property
    def kinds(self):
        return [item[1] for item in self.items]


def test_after_two_hundred_turns_the_model_still_knows_the_first_and_nothing_fell_out_of_its_window():
    model, rng = SmallModel(), random.Random(5)
    for number in range(200):
        model.turn(f"fact-{number} and more", has_tool=rng.random() < 0.2)
        assert len(model.items) * TOKENS_PER_ITEM <= LIMIT + 5 * TOKENS_PER_ITEM
    assert model.lost == []
    assert model.facts >= {f"fact-{number}" for number in range(200)}
    assert model.keeper.summaries == model.questions > 10
    assert model.items[0][0] == f"{SUMMARY}{model.questions}"
    assert sum(item[0].startswith(SUMMARY) for item in model.items) == 1, "older notes are part of the newer"


def test_without_summaries_the_beginning_is_lost():
    """That the model above would really forget."""
    model = SmallModel(options=ContextOptions(limit_tokens=10**9, keep_turns=3))
    for number in range(200):
        model.turn(f"fact-{number} and more")
    assert model.questions == 0
    assert "fact-0" not in model.facts


def test_the_last_turns_stay_word_for_word_and_results_with_their_calls():
    model = SmallModel()
    while not model.keeper.summaries:
        model.turn(f"fact-{model.replies} said", has_tool=True)
    said = [item[2] for item in model.items if item[1] == "user"]
    assert said == [f"fact-{number} said" for number in range(model.replies - 3, model.replies)]
    assert model.kinds == ["assistant", *["user", "tool_call", "tool_result", "assistant"] * 3]


def test_what_is_said_while_the_notes_are_written_stays():
    model = SmallModel()
    model.is_answering = False
    while not model.unanswered:
        model.turn(f"fact-{model.replies}")
    asked_at = model.replies
    for _ in range(5):
        model.turn(f"fact-{model.replies}")
    assert len(model.unanswered) == 1, "one question at a time"
    model.answer_question(*model.unanswered.pop())
    said = [item[2] for item in model.items if item[1] == "user"]
    assert said == [f"fact-{number}" for number in range(asked_at - 3, asked_at + 5)]
    assert model.facts == {f"fact-{number}" for number in range(asked_at + 5)}


def test_a_question_that_fails_takes_nothing_away_and_is_asked_again_some_replies_later():
    model = SmallModel(failing={1})
    while not model.questions:
        model.turn(f"fact-{model.replies}")
    failed_at = model.replies
    assert model.keeper.summaries == 0
    assert len([kind for kind in model.kinds if kind == "user"]) == failed_at
    while model.questions == 1:
        model.turn(f"fact-{model.replies}")
    assert model.replies == failed_at + PAUSE_REPLIES + 1
    assert model.keeper.summaries == 1
    assert model.facts == {f"fact-{number}" for number in range(model.replies)}


def test_after_another_session_has_taken_over_its_own_items_count():
    model = SmallModel()
    for _ in range(8):
        model.turn("before")
    model.keeper.hear(SessionResumed(provider="p", model="m", session_id="s", gap_ms=0))
    model.items.clear()
    for number in range(4):
        model.turn(f"fact-{number}")
    model.put("user", "more")
    model.tell("response.created", response={"id": "big"})
    usage = {"input_tokens": LIMIT, "output_tokens": 1}
    model.tell("response.done", response={"id": "big", "status": "completed", "usage": usage})
    assert model.keeper.summaries == 1  # and `delete` has asserted that every item was one of this session


@pytest.mark.parametrize("lack", ["has_questions", "has_deletion"])
def test_a_provider_that_cannot_is_left_alone(lack):
    model = SmallModel()
    model.capabilities = type("Lacking", (), {"has_questions": True, "has_deletion": True, lack: False})
    for number in range(100):
        model.turn(f"fact-{number}")
    assert model.questions == 0


def test_answers_to_other_questions_and_empty_notes_change_nothing():
    model = SmallModel()
    model.is_answering = False
    while not model.unanswered:
        model.turn("said")
    before = list(model.items)
    model.keeper.hear(Answered(question_id="of somebody else", text="no"))
    model.keeper.hear(Answered(question_id=f"{SUMMARY}1", text="  "))
    assert model.items == before
    assert model.keeper.summaries == 0


def test_a_call_that_has_no_result_yet_stays_until_its_result_is_old_as_well():
    """A provider refuses a result whose call is gone, and the model would wait for it for ever."""
    model = SmallModel()
    model.put("user", "Order it, please.")
    model.put("tool_call", "{}", item_id="slow call", call_id="slow")
    while not model.keeper.summaries:
        model.turn(f"fact-{model.replies}", has_tool=True)
    assert model.kinds[:2] == ["assistant", "tool_call"]
    model.put("tool_result", "fact-ordered", item_id="late result", call_id="slow")
    while model.keeper.summaries == 1:
        model.turn(f"fact-{model.replies}")
    assert not {"slow call", "late result"} & {item[0] for item in model.items}
    assert "fact-ordered" in model.facts


def test_a_call_whose_result_is_behind_the_cut_stays():
    model = SmallModel(options=ContextOptions(limit_tokens=LIMIT, keep_turns=2))
    while len(model.items) < LIMIT / TOKENS_PER_ITEM:
        model.put("user", "words")
        model.put("assistant", "words")
    model.put("tool_call", "{}", item_id="call", call_id="slow")
    model.put("user", "Are you still there?")
    model.put("tool_result", "fact-found", item_id="result", call_id="slow")
    model.turn("Good.")
    assert model.keeper.summaries == 1
    assert {"call", "result"} <= {item[0] for item in model.items}


def test_notes_that_do_not_help_are_not_asked_for_after_every_reply():
    """What the instructions and the last turns alone hold may be more than the limit."""
    model = SmallModel(options=ContextOptions(limit_tokens=1, keep_turns=3))
    for number in range(40):
        model.turn(f"fact-{number}")
    assert 1 < model.questions <= 40 / (PAUSE_REPLIES + 1)


@pytest.mark.parametrize("is_taken", [True, False])
def test_nothing_is_taken_out_before_its_summary_is_there(is_taken):
    model = SmallModel()
    model.protocol.replace_items(("first", "second"), "notes", "All that was said.")
    (create,) = map(json.loads, model.protocol.messages_to_send())
    assert (create["item"]["id"], create["previous_item_id"]) == ("notes", "root")
    item = {"id": "notes", "type": "message", "role": "assistant"}
    error = {"type": "invalid_request_error", "code": "invalid_value", "message": "no", "event_id": create["event_id"]}
    answer = {"type": "conversation.item.added", "item": item} if is_taken else {"type": "error", "error": error}
    model.protocol.receive(json.dumps(answer))
    sent = [json.loads(message) for message in model.protocol.messages_to_send()]
    deleted = [message["item_id"] for message in sent if message["type"] == "conversation.item.delete"]
    assert deleted == (["first", "second"] if is_taken else [])


def test_a_question_is_answered_at_length_however_short_replies_must_be():
    model = SmallModel()
    model.protocol.ask("q", "Write it down.")
    (question,) = map(json.loads, model.protocol.messages_to_send())
    assert question["response"]["max_output_tokens"] == 4096
