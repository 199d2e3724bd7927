"""The child process that runs one speech engine: ``python -m gateway.embedded.worker ROLE``.

Requests come on standard input and answers go to what was standard output, both as frames (``Frame``). The process ends
when its input does, so no crash of the server leaves it behind. One role a process: a decoder at work must not hold up
the voice.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import asdict
from enum import IntEnum
from typing import BinaryIO

import numpy as np

from gateway.embedded.audio import WireFormat
from gateway.embedded.automaton import Automaton
from gateway.embedded.ears import open_recognizer
from gateway.embedded.recognizer import Listening
from gateway.embedded.sections import RecognizerSection
from gateway.embedded.voice import EspeakVoice, engine, stream
from gateway.embedded.voices import open_voice
from gateway.errors import ResourceError

FRAME_HEAD = struct.Struct("!IIB")
"""Length of the payload, number of the job, kind."""


class FrameKind(IntEnum):
    """What a frame from the worker means for its job."""

    DATA = 0
    END = 1
    FAILED = 2


Role = Callable[[bytes, Callable[[bytes], None]], None]
"""Does one job: payload of the request, and where its answers go."""


def make_recognizer(section: str = "") -> Role:
    """Decodes turns: a JSON line with the grammar, then `int16[n]` at 8 kHz; answered by a `Recognition` in JSON.

    `section` is the brain file's `recognizer` in JSON.
    """
    recognizer = open_recognizer(RecognizerSection.model_validate_json(section) if section else None)

    def recognize(payload: bytes, reply: Callable[[bytes], None]) -> None:
        head, _, samples = payload.partition(b"\n")
        request = json.loads(head)
        arcs = tuple((start, end, word, probability) for start, end, word, probability in request["arcs"])
        automaton = Automaton(arcs=arcs, final=request["final"])
        words, keywords = tuple(request["words"]), tuple(request["keywords"])
        listening = Listening(automaton=automaton, words=words, keywords=keywords)
        if not samples:
            recognizer.prepare(listening)
            return
        turn = np.frombuffer(samples, dtype="<i2")
        heard = recognizer.recognize(turn, listening, wants_beginning=request["wants_beginning"])
        reply(json.dumps(asdict(heard)).encode())

    return recognize


def make_voice() -> Role:
    """Speaks: one JSON object; answered by blocks of audio in the wire format while they are being made."""
    engine()

    def speak(payload: bytes, reply: Callable[[bytes], None]) -> None:
        request = json.loads(payload)
        other = request["other"]
        voice = open_voice(*other) if other else EspeakVoice(request["voice"])
        stream(request["text"], voice, request["speed"], WireFormat(request["format"]), reply)

    return speak


ROLES: dict[str, Callable[..., Role]] = {"recognizer": make_recognizer, "voice": make_voice}


def run(role: Role, requests: BinaryIO, answers: BinaryIO) -> None:
    """Serve `role` until the requests end."""

    def send(job: int, kind: FrameKind, payload: bytes = b"") -> None:
        answers.write(FRAME_HEAD.pack(len(payload), job, kind) + payload)
        answers.flush()

    while len(head := requests.read(FRAME_HEAD.size)) == FRAME_HEAD.size:
        length, job, _ = FRAME_HEAD.unpack(head)
        payload = requests.read(length)
        try:
            role(payload, lambda data, job=job: send(job, FrameKind.DATA, data))  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - one job fails, the worker lives on for the other calls
            send(job, FrameKind.FAILED, f"{type(error).__name__}: {error}".encode())
        else:
            send(job, FrameKind.END)


def main() -> int:
    """Run the role named on the command line, with what it is given there."""
    # Ctrl-C reaches the whole process group; the server decides when its workers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The C libraries may print: what they take for standard output must not be the frame stream.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        role = ROLES[sys.argv[1]](*sys.argv[2:])
    except ResourceError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent's standard error, where its reader looks
        return 1
    try:
        answers.write(FRAME_HEAD.pack(0, 0, FrameKind.END))
        answers.flush()
        run(role, sys.stdin.buffer, answers)
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
