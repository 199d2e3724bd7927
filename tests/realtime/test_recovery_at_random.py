"""Calls whose connection is cut at any moment: no tool runs twice, no turn is lost, one connection is left."""

from __future__ import annotations

import random

import pytest

from gateway.errors import ProviderUnavailable
from gateway.realtime import session as realtime
from tests.support.session_house import STEP_S, ScriptedLink, SessionHouse

SILENCE = b"\xff" * 160
TURNS = 4
ONSET_PIECES, TAIL_PIECES = 6, 12


class Model:
    """An honest provider behind one connection: finds turns, writes them down, answers; at odd turns it asks a tool."""

    def __init__(self, link: ScriptedLink, scene: Scene) -> None:
        self.link = link
        self.scene = scene
        self.seen = 0
        self.commands = 0
        self.known = {turn for item in link.options.history if (turn := _turn_of(item)) is not None}
        self.answered_tools = {
            item.arguments: item.output
            for item in link.options.history
            if isinstance(item, realtime.ToolExchange) and "running" not in item.output
        }
        self.turn: int | None = None
        self.loud = self.quiet = 0
        self.agenda: list[tuple[float, str, int]] = []
        self.replies = 0
        self.asked: dict[str, int] = {}

    def step(self, now: float) -> None:
        if not self.link.is_up:
            return
        for piece in self.link.heard[self.seen :]:
            self._hear(piece, now)
        self.seen = len(self.link.heard)
        for command in self.link.done[self.commands :]:
            self._obey(command, now)
        self.commands = len(self.link.done)
        due, self.agenda = [e for e in self.agenda if e[0] <= now], [e for e in self.agenda if e[0] > now]
        for _, what, turn in due:
            if self.link.is_up:
                self._do(what, turn, now)

    def _hear(self, piece: bytes, now: float) -> None:
        if piece != SILENCE:
            self.loud, self.quiet = self.loud + 1, 0
            if self.turn is None and self.loud >= ONSET_PIECES:
                self.turn = piece[0]
                self.link.begin_turn(f"u{self.turn}")
            return
        self.loud, self.quiet = 0, self.quiet + 1
        if self.turn is not None and self.quiet >= TAIL_PIECES:
            turn, self.turn = self.turn, None
            self.link.end_turn(f"u{turn}")
            self.known.add(turn)
            delay = self.scene.rng.choice((0.02, 0.3, 0.8))
            self.agenda += [(now + delay, "write", turn), (now + 0.2, "reply", turn)]

    def _obey(self, command: tuple[object, ...], now: float) -> None:
        match command:
            case ("respond", *_):
                self.agenda.append((now + 0.1, "reply", max(self.known, default=-1)))
            case ("send_text", "user", text) if str(text).startswith("turn "):
                self.known.add(int(str(text)[5:]))
            case ("send_text", _, text) if isinstance(text, str) and "has finished" in text:
                self.answered_tools[text.rpartition("result: ")[2]] = text
            case ("send_tool_result", call_id, output, *_):
                self.answered_tools[str(output)] = str(output)
                if call_id in self.asked:
                    self.agenda.append((now + 0.1, "reply", self.asked[str(call_id)]))

    def _do(self, what: str, turn: int, now: float) -> None:
        if what == "write":
            words = realtime.InputTranscript(item_id=f"u{turn}", text=f"turn {turn}", is_final=True)
            self.link.emit(words)
            return
        if what == "finish":
            self.link.finish(f"r{turn}")
            return
        self.replies += 1
        name = f"r{self.replies}"
        self.link.begin(name)
        has_result = any(f"result {turn}" in text or f'"turn": {turn}' in text for text in self.answered_tools)
        if turn % 2 and turn >= 0 and not has_result:
            self.asked[f"c{self.link.number}-{turn}"] = turn
            self.link.call(f"c{self.link.number}-{turn}", "look", name, turn=turn)
        else:
            self.link.say(name, f"a{self.replies}", 400, f"answer to turn {turn}", is_whole=True)
            self.scene.answered |= self.known
        self.agenda.append((now + 0.3, "finish", self.replies))


class Scene:
    """A caller who speaks several times, tools that take a while, sessions that expire, and a line that is cut."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.house = SessionHouse("first", "second", seed=seed)
        self.answered: set[int] = set()
        self.runs: dict[object, int] = {}
        self.models: dict[ScriptedLink, Model] = {}
        self.results: list[tuple[float, str, str]] = []
        self.told = 0

    def play(self) -> None:
        house, rng = self.house, self.rng
        for provider in house.providers:
            provider.plan.extend(rng.choice((0.05, 0.3, 0.3, ProviderUnavailable("gone"))) for _ in range(12))
        house.providers[0].plan[0] = 0.1
        drops = sorted(house.now + rng.uniform(0, TURNS * 4.0) for _ in range(rng.randrange(1, 5)))
        ends = sorted(house.now + rng.uniform(0, TURNS * 4.0) for _ in range(rng.randrange(4)))
        with house.running() as session:
            self.session = session
            for turn in range(TURNS):
                for piece in [bytes([turn]) * 160] * 30 + [SILENCE] * 170:
                    session.append_audio(piece)
                    if drops and house.now >= drops[0]:
                        del drops[0]
                        for link in house.live_links:
                            link.drop()
                    if ends and house.now >= ends[0]:
                        del ends[0]
                        for link in house.live_links:
                            link.emit(realtime.SessionExpiring(in_s=rng.choice((3.0, 10.0))))
                    self._step()
            for _ in range(500):
                session.append_audio(SILENCE)
                self._step()
            assert len(house.live_links) == 1

    def _step(self) -> None:
        house = self.house
        house.live(STEP_S)
        for link in house.live_links:
            self.models.setdefault(link, Model(link, self)).step(house.now)
        for event in house.told[self.told :]:
            if isinstance(event, realtime.ToolCalled):
                turn = event.call.arguments["turn"]
                self.runs[turn] = self.runs.get(turn, 0) + 1
                done_at = house.now + self.rng.choice((0.1, 1.0, 2.5))
                self.results.append((done_at, event.call.call_id, f"result {turn}"))
        self.told = len(house.told)
        for entry in [entry for entry in self.results if entry[0] <= house.now]:
            self.results.remove(entry)
            self.session.send_tool_result(entry[1], entry[2])


def _turn_of(item: realtime.HistoryItem) -> int | None:
    is_turn = isinstance(item, realtime.Message) and item.role == "user" and item.text.startswith("turn ")
    return int(item.text[5:]) if isinstance(item, realtime.Message) and is_turn else None


@pytest.mark.parametrize("seed", range(60))
def test_no_tool_runs_twice_and_every_turn_is_answered(seed: int) -> None:
    scene = Scene(seed)
    scene.play()
    assert all(times == 1 for times in scene.runs.values())
    assert scene.answered >= set(range(TURNS))
