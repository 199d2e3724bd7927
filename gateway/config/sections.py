"""The sections ``media``, ``realtime``, ``limits`` and ``log``; and the Options of realtime sessions that they make."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gateway.calls.call import MAX_CALL_S
from gateway.calls.manager import CallOptions
from gateway.config.hosted import HostedServerSection, Truncation, truncation_of
from gateway.config.providers import address_of, check_abilities, formats_of, turn_detection_of
from gateway.config.spending import BudgetSection
from gateway.config.values import (
    EMBEDDED,
    DiskSpace,
    IpAddress,
    Lateness,
    OneOrMore,
    Percent,
    PortRange,
    Provider,
    RecordingName,
    SessionAudio,
    default_of,
)
from gateway.located import Seconds, Section, WrongValue
from gateway.realtime.prices import SessionPricesSection
from gateway.realtime.recovery.endpoints import Endurance
from gateway.realtime.recovery.options import RecoveryOptions
from gateway.realtime.session import (
    ContextOptions,
    ReasoningEffort,
    Secret,
    SessionOptions,
    TranscriptionDelay,
    TurnDetection,
)
from gateway.records.callers import CallerOptions
from gateway.records.recordings import RecordingOptions
from gateway.records.voicemail import VoicemailOptions
from gateway.sip.guard import GuardOptions
from gateway.sip.user_agent import UserAgentOptions
from gateway.transport.load_watch import LoadLimits
from gateway.transport.rtp_ports import RtpPortOptions, SourcePolicy


class RtpSection(Section):
    """Where audio is received."""

    listen: Annotated[tuple[IpAddress, ...], Field(min_length=1, max_length=2), OneOrMore] | None = None
    # Apart from Asterisk's own (10000-20000), which is often on the same machine.
    ports: PortRange = "30000-30999"
    source: SourcePolicy = default_of(RtpPortOptions, "source_policy")
    start_timeout: Annotated[Seconds, Field(ge=5)] = 30.0
    timeout: Annotated[Seconds, Field(ge=5)] = 30.0

    @model_validator(mode="after")
    def _has_one_of_a_family(self) -> RtpSection:
        families = [":" in host for host in self.listen or ()]
        if len(set(families)) < len(families):
            raise WrongValue("listens on two addresses of one family", expected="expected one IPv4, one IPv6 or both")
        return self


class RtcpSection(Section):
    """Reports about audio."""

    enabled: bool = True
    counts_as_life: bool = False


class MediaSection(Section):
    """Audio."""

    rtp: RtpSection = RtpSection()
    rtcp: RtcpSection = RtcpSection()
    append: Literal["auto", "20ms", "40ms", "60ms", "100ms"] = "auto"


_TURNS = TurnDetection()


class TurnDetectionSection(Section):
    """When the caller's turn has ended."""

    kind: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = _TURNS.threshold
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = _TURNS.prefix_padding_ms
    silence_duration_ms: Annotated[int, Field(ge=50, le=10000)] = _TURNS.silence_duration_ms
    idle_timeout_ms: Annotated[int, Field(ge=5000, le=30000)] | None = _TURNS.idle_timeout_ms
    eagerness: Literal["low", "medium", "high", "auto"] = _TURNS.eagerness
    interrupt: bool = _TURNS.interrupts_response

    @property
    def chosen(self) -> Literal["server_vad", "semantic_vad"] | None:
        """The kind, if the file says one."""
        return self.kind if "kind" in self.model_fields_set else None

    @model_validator(mode="after")
    def _times_out_by_silence(self) -> TurnDetectionSection:
        if self.idle_timeout_ms is not None and self.kind != "server_vad":
            raise _without_effect("expected it with kind server_vad only", "idle_timeout_ms")
        return self


class ContextSection(Section):
    """When a long conversation is shortened."""

    limit: Annotated[int, Field(ge=1000, le=1_000_000)] = default_of(ContextOptions, "limit_tokens")
    keep_turns: Annotated[int, Field(ge=1, le=100)] = default_of(ContextOptions, "keep_turns")


class RecoverySection(Section):
    """What happens when a session's connection is lost, or the model is silent."""

    attempts: Annotated[int, Field(ge=1, le=100)] = default_of(RecoveryOptions, "attempts")
    window: Annotated[Seconds, Field(ge=0, le=300)] = default_of(RecoveryOptions, "window_s")
    keep_audio: Annotated[Seconds, Field(ge=0, le=30)] = default_of(RecoveryOptions, "keep_audio_s")
    roll_over_before: Annotated[Seconds, Field(gt=0)] = default_of(RecoveryOptions, "roll_over_before_s")
    prompt_after: Annotated[Seconds, Field(gt=0)] = default_of(RecoveryOptions, "prompt_after_s")
    reconnect_after: Annotated[Seconds, Field(gt=0)] = default_of(RecoveryOptions, "reconnect_after_s")
    give_up_after: Annotated[Seconds, Field(gt=0)] = default_of(RecoveryOptions, "give_up_after_s")
    longest_reply: Annotated[Seconds, Field(gt=0)] = default_of(RecoveryOptions, "longest_reply_s")
    reply_retries: Annotated[int, Field(ge=0, le=20)] = default_of(RecoveryOptions, "reply_retries")

    @model_validator(mode="after")
    def _is_in_order(self) -> RecoverySection:
        if not self.prompt_after < self.reconnect_after < self.give_up_after:
            expected = "expected prompt_after below reconnect_after, and that below give_up_after"
            raise WrongValue("has its silences out of order", expected=expected)
        return self

    def options(self) -> RecoveryOptions:
        """The same for sessions."""
        return RecoveryOptions(
            attempts=self.attempts,
            window_s=self.window,
            keep_audio_s=self.keep_audio,
            roll_over_before_s=self.roll_over_before,
            prompt_after_s=self.prompt_after,
            reconnect_after_s=self.reconnect_after,
            give_up_after_s=self.give_up_after,
            longest_reply_s=self.longest_reply,
            reply_retries=self.reply_retries,
        )


_OF_TRANSCRIPTION = frozenset({"keywords", "languages", "transcription_delay", "transcription_prompt"})


class RealtimeSection(Section):
    """One kind of realtime session."""

    provider: Provider = EMBEDDED
    url: str = ""
    model: str = ""
    backend_model: str = ""
    api_key: str = Field(default="", repr=False)
    voice: str = ""
    instructions: str = ""
    audio: SessionAudio = "pcm16"
    turn_detection: TurnDetectionSection = TurnDetectionSection()
    noise_reduction: Literal["near_field", "far_field"] | None = None
    noise_reduction_strength: Annotated[float, Field(ge=0, le=1)] | None = None
    transcription: str | None = None
    language: str | None = None
    languages: tuple[str, ...] = ()
    keywords: tuple[str, ...] = ()
    transcription_prompt: str = ""
    transcription_delay: TranscriptionDelay | None = None
    speed: Annotated[float, Field(ge=0.25, le=1.5)] | None = None
    reasoning: ReasoningEffort | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=32000)] | None = None
    parallel_tool_calls: bool | None = None
    truncation: Truncation = None
    identify_callers: bool = False
    mcp: tuple[HostedServerSection, ...] = ()
    connect_timeout: Seconds = default_of(SessionOptions, "connect_timeout_s")
    prices: SessionPricesSection | None = None
    context: ContextSection = ContextSection()
    fallbacks: tuple[str, ...] = ()
    max_sessions: Annotated[int, Field(ge=1, le=100_000)] | None = None
    recovery: RecoverySection = RecoverySection()
    brain: Path | None = None

    @model_validator(mode="after")
    def _is_reachable(self) -> RealtimeSection:
        if not self.is_embedded_here and not _is_url(self.address):
            raise WrongValue("has no url that can be called", expected="expected url: wss://HOST/v1")
        if self.provider != EMBEDDED and self.brain is not None:
            raise _without_effect("expected it with provider embedded only", "brain")
        given = [*_given(self), *(f"turn_detection.{name}" for name in _given(self.turn_detection))]
        check_abilities(self.provider, audio=self.audio, turn_detection=self.turn_detection.chosen, given=given)
        return self

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> RealtimeSection:
        if self.noise_reduction_strength is not None and self.noise_reduction is None:
            raise _without_effect("expected it with noise_reduction only", "noise_reduction_strength")
        for key in sorted(_OF_TRANSCRIPTION.intersection(_given(self))) if self.provider != EMBEDDED else ():
            if self.transcription is None:
                raise _without_effect("expected it with transcription: MODEL only", key)
        kind = turn_detection_of(self.provider, self.turn_detection.chosen)
        if self.turn_detection.idle_timeout_ms is not None and kind != "server_vad":
            expected = f"expected it with turn_detection.kind: server_vad only (here it is {kind})"
            raise _without_effect(expected, "turn_detection", "idle_timeout_ms")
        labels = [server.label for server in self.mcp]
        if len(set(labels)) < len(labels):
            raise WrongValue("has two mcp servers of one label", expected="expected each label once")
        if self.mcp and self.provider == EMBEDDED:
            raise _without_effect("expected it with a provider that calls them itself", "mcp")
        return self

    def endurance(self) -> Endurance:
        """What its sessions fall back on."""
        return Endurance(fallbacks=self.fallbacks, recovery=self.recovery.options(), max_sessions=self.max_sessions)

    @property
    def address(self) -> str:
        """Where the provider is; empty where the gateway starts it."""
        return self.url or address_of(self.provider)

    @property
    def is_embedded_here(self) -> bool:
        """Whether the gateway starts this session's server itself."""
        return self.provider == EMBEDDED and not self.url


class LimitsSection(Section):
    """How much is let in, and what it may cost."""

    max_calls: Annotated[int, Field(ge=1, le=10000)] = default_of(CallOptions, "max_calls")
    max_call: Annotated[Seconds, Field(gt=0)] = MAX_CALL_S
    transfers_per_call: Annotated[int, Field(ge=0, le=100)] = default_of(CallOptions, "transfers_per_call")
    transfers_per_hour: Annotated[int, Field(ge=1, le=10000)] = default_of(CallOptions, "transfers_per_hour")
    drain: Seconds = 300.0
    cpu: Percent = default_of(LoadLimits, "cpu_percent")
    lag: Lateness = default_of(LoadLimits, "lag_ms") / 1000
    descriptors: Percent = default_of(LoadLimits, "descriptors_percent")
    calls_per_s: Annotated[float, Field(gt=0)] = default_of(UserAgentOptions, "calls_per_s")
    call_burst: Annotated[int, Field(ge=1)] = default_of(UserAgentOptions, "call_burst")
    messages_per_s: Annotated[float, Field(gt=0)] = default_of(UserAgentOptions, "messages_per_s")
    message_burst: Annotated[int, Field(ge=1)] = default_of(UserAgentOptions, "message_burst")
    ban_after: Annotated[int, Field(ge=1)] = default_of(GuardOptions, "ban_after")
    ban: Seconds = default_of(GuardOptions, "ban_s")
    budget: BudgetSection = BudgetSection()


class RecordingsSection(Section):
    """Recordings of calls whose dialplan asks for them."""

    folder: Path | None = None
    format: Literal["wav", "opus"] = default_of(RecordingOptions, "format")
    name: RecordingName = default_of(RecordingOptions, "name")
    min_free: DiskSpace = default_of(RecordingOptions, "min_free_bytes")
    keep_days: Annotated[int, Field(ge=1)] | None = default_of(RecordingOptions, "keep_days")


class VoicemailSection(Section):
    """Messages that callers leave in the mailboxes of dialplans."""

    folder: Path | None = None
    min_free: DiskSpace = default_of(VoicemailOptions, "min_free_bytes")
    keep_days: Annotated[int, Field(ge=1)] | None = default_of(VoicemailOptions, "keep_days")

    def options(self) -> VoicemailOptions | None:
        """The same for the store; None where messages are not kept."""
        if self.folder is None:
            return None
        return VoicemailOptions(folder=self.folder.absolute(), min_free_bytes=self.min_free, keep_days=self.keep_days)


class CallersSection(Section):
    """Who has called before, for ``seen`` in dialplans."""

    file: Path | None = None
    keep_days: Annotated[int, Field(ge=1, le=36500)] = default_of(CallerOptions, "keep_days")

    def options(self) -> CallerOptions | None:
        """The same for the store; None where callers are not kept."""
        return None if self.file is None else CallerOptions(file=self.file, keep_days=self.keep_days)


class RecordsSection(Section):
    """What is kept of calls."""

    recordings: RecordingsSection = RecordingsSection()
    voicemail: VoicemailSection = VoicemailSection()
    callers: CallersSection = CallersSection()


class LogSection(Section):
    """What is written to standard output."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    mask_numbers: bool = True
    sip_trace: bool = False
    sip_trace_only: tuple[str, ...] = ()


def _without_effect(expected: str, *at: str) -> WrongValue:
    """What is wrong with a key that goes with another one, at its own place."""
    return WrongValue("has no effect", expected=expected, at=at)


def _given(section: Section) -> list[str]:
    """Keys of `section` that differ from what they are by default."""
    fields = type(section).model_fields
    return [name for name in fields if getattr(section, name) != fields[name].get_default(call_default_factory=True)]


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("ws", "wss", "http", "https") and bool(parts.hostname)


def session_options_of(section: RealtimeSection, url: str) -> SessionOptions:
    """The Options of sessions of one kind, at `url`."""
    turns = section.turn_detection
    input_format, output_format = formats_of(section.provider, section.audio)
    return SessionOptions(
        provider=section.provider,
        url=url,
        model=section.model or (EMBEDDED if section.provider == EMBEDDED else ""),
        backend_model=section.backend_model,
        api_key=Secret(section.api_key) if section.api_key else None,
        voice=section.voice,
        instructions=section.instructions,
        input_format=input_format,
        output_format=output_format,
        turn_detection=TurnDetection(
            kind=turn_detection_of(section.provider, turns.chosen),
            threshold=turns.threshold,
            prefix_padding_ms=turns.prefix_padding_ms,
            silence_duration_ms=turns.silence_duration_ms,
            idle_timeout_ms=turns.idle_timeout_ms,
            eagerness=turns.eagerness,
            interrupts_response=turns.interrupt,
        ),
        noise_reduction=section.noise_reduction,
        transcription_model=section.transcription or (EMBEDDED if section.provider == EMBEDDED else None),
        transcription_language=section.language,
        transcription_languages=section.languages,
        transcription_prompt=section.transcription_prompt,
        transcription_keywords=section.keywords,
        transcription_delay=section.transcription_delay,
        noise_reduction_strength=section.noise_reduction_strength,
        output_speed=section.speed,
        reasoning_effort=section.reasoning,
        max_output_tokens=section.max_output_tokens,
        parallel_tool_calls=section.parallel_tool_calls,
        truncation=truncation_of(section.truncation),
        identifies_callers=section.identify_callers,
        hosted_servers=tuple(server.options() for server in section.mcp),
        connect_timeout_s=section.connect_timeout,
        context=ContextOptions(limit_tokens=section.context.limit, keep_turns=section.context.keep_turns),
    )
