"""What is known of a provider before there is a session: for the configuration, and for whoever lists providers."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.errors import ProviderRefused
from gateway.media.codec import AudioFormat
from gateway.realtime.provider_registry import factory_of
from gateway.realtime.session import Capabilities, TurnDetectionKind

_LINEAR = (AudioFormat.PCM16_24K, AudioFormat.PCM16_16K, AudioFormat.PCM16_8K)
_LAWS = (AudioFormat.PCMU, AudioFormat.PCMA)

ORIGINALS_KEYS = frozenset(
    {
        "identify_callers",
        "keywords",
        "languages",
        "noise_reduction_strength",
        "speed",
        "transcription_delay",
        "transcription_prompt",
    }
)
"""Keys of a session's configuration that OpenAI's Realtime API alone can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderProfile:
    """One provider."""

    capabilities: Capabilities
    url: str = ""
    """Where everybody reaches it; empty where the configuration must say where."""
    lacks: frozenset[str] = frozenset()
    """Keys of a session's configuration that it could not be told; those of a section in it behind its name and a dot,
    as ``turn_detection.idle_timeout_ms``."""
    needs: frozenset[str] = frozenset()
    """Keys that it cannot do without."""

    @property
    def linear_formats(self) -> tuple[AudioFormat, AudioFormat] | None:
        """The PCM in and out that it names first; None where it has none."""
        ways = (self.capabilities.input_formats, self.capabilities.output_formats)
        best = [next((audio for audio in formats if audio in _LINEAR), None) for formats in ways]
        return None if best[0] is None or best[1] is None else (best[0], best[1])

    @property
    def has_g711(self) -> bool:
        """It takes and gives either law, so that a caller's octets pass."""
        ways = (self.capabilities.input_formats, self.capabilities.output_formats)
        return all(law in formats for law in _LAWS for formats in ways)

    @property
    def turn_detection(self) -> TurnDetectionKind | None:
        """What finds the turns where nobody chose; None where the provider does not."""
        return next((kind for kind in self.capabilities.turn_detections if kind != "none"), None)


_profiles: dict[str, ProviderProfile] = {}


def register_profile(name: str, profile: ProviderProfile) -> None:
    """Let the configuration know of provider `name`. A later registration takes the place of an earlier one."""
    _profiles[name] = profile


def profile_of(name: str) -> ProviderProfile | None:
    """The profile of a provider: registered, or told by its factory's ``profile``; None where it has told none."""
    registered = _profiles.get(name)
    if registered is not None:
        return registered
    try:
        told = getattr(factory_of(name), "profile", None)
    except ProviderRefused:
        return None
    return told if isinstance(told, ProviderProfile) else None
