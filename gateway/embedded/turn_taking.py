"""What a session's settings say of its turns: when speech has begun, and how long a silence ends it."""

from __future__ import annotations

from gateway.embedded.grammar import Grammar
from gateway.embedded.recognizer import Recognition
from gateway.embedded.session import AudioInput, SemanticVad, ServerVad
from gateway.embedded.thought import WAITS, endings_of, thought_of
from gateway.embedded.vad import TurnOptions


def turn_options(settings: AudioInput) -> TurnOptions | None:
    """How turns are found; None where the client says where they end."""
    match settings.turn_detection:
        case ServerVad() as chosen:
            return TurnOptions(
                threshold=chosen.threshold,
                prefix_padding_ms=chosen.prefix_padding_ms,
                silence_duration_ms=chosen.silence_duration_ms,
            )
        case SemanticVad() as chosen:
            waits = WAITS[chosen.eagerness]
            return TurnOptions(silence_duration_ms=waits.unfinished_ms, words_count_from_ms=waits.whole_ms)
    return None


def end_silence_ms(settings: AudioInput, heard: Recognition, grammar: Grammar) -> int | None:
    """How long the pause behind these words must be to end the turn; None where words do not matter."""
    if not isinstance(settings.turn_detection, SemanticVad):
        return None
    language = settings.transcription.language if settings.transcription else None
    thought = thought_of(heard, grammar, endings_of(language or "en"))
    return WAITS[settings.turn_detection.eagerness].after(thought)
