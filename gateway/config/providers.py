"""What a realtime session of the configuration may ask of its provider, and what it gets where it asks for nothing.

Of a provider without a profile nothing is known beforehand: it gets what is asked, and may refuse it at the first call.
"""

from __future__ import annotations

from collections.abc import Collection

from gateway.located import WrongValue
from gateway.media.codec import AudioFormat
from gateway.realtime.profile import profile_of
from gateway.realtime.session import TurnDetection, TurnDetectionKind


def address_of(provider: str) -> str:
    """Where everybody reaches it; empty where the configuration must say where."""
    profile = profile_of(provider)
    return "" if profile is None else profile.url


def check_abilities(
    provider: str, *, audio: str, turn_detection: TurnDetectionKind | None, given: Collection[str]
) -> None:
    """See that the provider has what is asked: `audio`, the kind of `turn_detection`, and the keys `given` a value.

    Raises:
        WrongValue: it has not.
    """
    profile = profile_of(provider)
    if profile is None:
        return
    if audio == "g711" and not profile.has_g711:
        raise _unfit("audio", f"is g711, which {provider} does not take", "expected audio: pcm16")
    if audio == "pcm16" and profile.linear_formats is None:
        raise _unfit("audio", f"is pcm16, which {provider} does not take", "expected audio: g711")
    kinds = [kind for kind in profile.capabilities.turn_detections if kind != "none"]
    if turn_detection is not None and turn_detection not in kinds:
        expected = f"expected turn_detection.kind: {' or '.join(kinds)}" if kinds else "expected no turn_detection.kind"
        raise _unfit("turn_detection.kind", f"is {turn_detection}, which {provider} does not have", expected)
    for key in sorted(profile.needs.difference(given)):
        raise WrongValue(f"has no {key}, which {provider} needs", expected=f"expected {key}")
    for key in sorted(profile.lacks.intersection(given)):
        raise _unfit(key, f"is nothing that {provider} has", f"expected no {key}")


def _unfit(key: str, message: str, expected: str) -> WrongValue:
    """What is wrong with a `key` of a session, at its own place."""
    return WrongValue(message, expected=expected, at=key.split("."))


def formats_of(provider: str, audio: str) -> tuple[AudioFormat, AudioFormat]:
    """What the session is given and gives. Of G.711 mu-law: each call takes its own law."""
    if audio == "g711":
        return AudioFormat.PCMU, AudioFormat.PCMU
    profile = profile_of(provider)
    linear = None if profile is None else profile.linear_formats
    return linear or (AudioFormat.PCM16_24K, AudioFormat.PCM16_24K)


def missing_formats(provider: str, formats: tuple[AudioFormat, AudioFormat]) -> str:
    """What was expected of a provider that cannot go on with a call in these `formats`; empty where it can."""
    profile = profile_of(provider)
    if profile is None:
        return ""
    laws = (AudioFormat.PCMU, AudioFormat.PCMA)
    ways = (profile.capabilities.input_formats, profile.capabilities.output_formats)
    for wanted, had in zip(formats, ways, strict=True):
        if not set(laws if wanted in laws else (wanted,)) <= set(had):
            given, taken = (form.value for form in formats)
            return f"expected a provider that is given {given} and gives {taken}, as a call keeps its formats"
    return ""


def turn_detection_of(provider: str, asked: TurnDetectionKind | None) -> TurnDetectionKind:
    """The kind that was asked for; else the provider's own."""
    profile = profile_of(provider)
    own = None if profile is None else profile.turn_detection
    return asked or own or TurnDetection().kind
