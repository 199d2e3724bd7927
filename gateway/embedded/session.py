"""The session objects of OpenAI Realtime GA as schemas, and how `session.update` changes them.

There are two: one that answers (`SessionConfig`) and one that only writes down what it hears (`TranscriptionConfig`).
The kind is settled when the connection is opened. An update is merged member by member into what is in force and
validated as a whole: it is carried out entirely or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

DEFAULT_INSTRUCTIONS = "You are a receptionist on the telephone. Answer in short sentences."


class Strict(BaseModel):
    """Unknown members are refused, and nothing is converted on the sly."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Sparse(Strict):
    """Shown with the members that are set only, as the protocol does where a member is optional."""

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class PcmFormat(Strict):
    """Signed 16-bit little-endian mono at 24 kHz."""

    type: Literal["audio/pcm"] = "audio/pcm"
    rate: Literal[24000] = 24000


class UlawFormat(Strict):
    """G.711 mu-law at 8 kHz, which has no rate member."""

    type: Literal["audio/pcmu"]


class AlawFormat(Strict):
    """G.711 A-law at 8 kHz, which has no rate member."""

    type: Literal["audio/pcma"]


AudioFormatConfig = Annotated[PcmFormat | UlawFormat | AlawFormat, Field(discriminator="type")]


class Transcription(_Sparse):
    """Asks for the caller's words; every model name gets the embedded recogniser."""

    model: str | None = None
    language: str | None = None
    prompt: str | None = None
    keywords: list[str] | None = None
    languages: list[str] | None = None
    delay: Literal["minimal", "low", "medium", "high", "xhigh"] | None = None


class NoiseReduction(_Sparse):
    """Accepted and shown, without effect: the line's audio is used as it comes."""

    type: Literal["near_field", "far_field"]
    strength: float | None = None


class ServerVad(Strict):
    """Turns by silence."""

    type: Literal["server_vad"] = "server_vad"
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.5
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5000)] = 300
    silence_duration_ms: Annotated[int, Field(ge=0, le=10000)] = 200
    idle_timeout_ms: Annotated[int, Field(ge=5000, le=30000)] | None = None
    create_response: bool = True
    interrupt_response: bool = True


class SemanticVad(Strict):
    """Turns by what was said (`thought.py`); the eagerness chooses how long is waited for more."""

    type: Literal["semantic_vad"]
    eagerness: Literal["low", "medium", "high", "auto"] = "auto"
    create_response: bool = True
    interrupt_response: bool = True


TurnDetection = Annotated[ServerVad | SemanticVad, Field(discriminator="type")]


class AudioInput(Strict):
    """What the caller's audio is and how turns are found in it."""

    format: AudioFormatConfig = PcmFormat()
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: TurnDetection | None = ServerVad()


class CustomVoice(Strict):
    """A voice by the provider's id; sounds like the default here."""

    id: str


VoiceConfig = str | CustomVoice


class AudioOutput(Strict):
    """What the assistant's audio is."""

    format: AudioFormatConfig = PcmFormat()
    voice: VoiceConfig = "marin"
    speed: Annotated[float, Field(ge=0.25, le=1.5)] = 1.0


class Audio(Strict):
    """Both directions."""

    input: AudioInput = AudioInput()
    output: AudioOutput = AudioOutput()


class FunctionTool(_Sparse):
    """A function that the client carries out."""

    type: Literal["function"]
    name: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-zA-Z0-9_.-]+$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class McpTool(_Sparse):
    """A tool server; accepted, but this server has no network to reach it by, and says so when it is asked to."""

    type: Literal["mcp"]
    server_label: str
    server_url: str | None = None
    connector_id: str | None = None
    tunnel_id: str | None = None
    server_description: str | None = None
    authorization: str | None = Field(default=None, repr=False)
    headers: dict[str, str] | None = Field(default=None, repr=False)
    allowed_tools: list[str] | dict[str, Any] | None = None
    require_approval: Literal["always", "never"] | dict[str, Any] | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


ToolConfig = Annotated[FunctionTool | McpTool, Field(discriminator="type")]


class NamedTool(_Sparse):
    """Forces one tool."""

    type: Literal["function", "mcp"]
    name: str | None = None
    server_label: str | None = None


ToolChoice = Literal["auto", "none", "required"] | NamedTool


class TokenLimits(_Sparse):
    """How much of the conversation is kept when it is cut."""

    post_instructions: Annotated[int, Field(ge=0)] | None = None


class RetentionRatio(_Sparse):
    """How the conversation would be cut when the model's window is full; this one has no window."""

    type: Literal["retention_ratio"]
    retention_ratio: Annotated[float, Field(ge=0, le=1)]
    token_limits: TokenLimits | None = None


class Tracing(_Sparse):
    """Names for traces that nobody keeps here."""

    workflow_name: str | None = None
    group_id: str | None = None
    metadata: dict[str, Any] | None = None


class Prompt(_Sparse):
    """A prompt that is stored with the provider; here there is none."""

    id: str
    version: str | None = None
    variables: dict[str, Any] | None = None


class Reasoning(_Sparse):
    """How hard a reasoning model thinks; this one does not."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


Include = list[Literal["item.input_audio_transcription.logprobs"]]


class SessionConfig(Strict):
    """Everything that `session.update` can change, with the defaults of a new session; members in wire order."""

    type: Literal["realtime"] = "realtime"
    model: str
    output_modalities: Annotated[list[Literal["audio", "text"]], Field(min_length=1, max_length=1)] = ["audio"]
    instructions: str = DEFAULT_INSTRUCTIONS
    tools: list[ToolConfig] = []
    tool_choice: ToolChoice = "auto"
    max_output_tokens: Annotated[int, Field(ge=1, le=4096)] | Literal["inf"] = "inf"
    truncation: Literal["auto", "disabled"] | RetentionRatio = "auto"
    tracing: Literal["auto"] | Tracing | None = None
    prompt: Prompt | None = None
    include: Include | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    audio: Audio = Audio()

    @property
    def functions(self) -> tuple[FunctionTool, ...]:
        """The function tools in the order given."""
        return tuple(tool for tool in self.tools if isinstance(tool, FunctionTool))

    @property
    def tool_servers(self) -> tuple[McpTool, ...]:
        """The tool servers in the order given."""
        return tuple(tool for tool in self.tools if isinstance(tool, McpTool))

    def to_wire(self, session_id: str, expires_at: int) -> dict[str, Any]:
        """The full effective session of `session.created` and `session.updated`; without the keys of tool servers."""
        members = self.model_dump(mode="json")
        for tool in members["tools"]:
            for secret in ("authorization", "headers"):
                tool.pop(secret, None)
        for optional in ("parallel_tool_calls", "reasoning"):
            if members[optional] is None:
                del members[optional]
        head = {"type": members.pop("type"), "object": "realtime.session", "id": session_id}
        return head | {"model": members.pop("model"), "expires_at": expires_at} | members


class TranscriptionAudio(Strict):
    """A transcription session has a caller and nobody who answers."""

    input: AudioInput = AudioInput(transcription=Transcription(model="embedded"))


class TranscriptionConfig(Strict):
    """A session of `?intent=transcription`: what is heard is written down, and nothing is ever said."""

    type: Literal["transcription"] = "transcription"
    include: Include | None = None
    audio: TranscriptionAudio = TranscriptionAudio()

    @property
    def functions(self) -> tuple[FunctionTool, ...]:
        """None."""
        return ()

    @property
    def tool_servers(self) -> tuple[McpTool, ...]:
        """None."""
        return ()

    def to_wire(self, session_id: str, expires_at: int) -> dict[str, Any]:
        """The full effective session of `session.created` and `session.updated`."""
        members = self.model_dump(mode="json")
        head = {"type": members.pop("type"), "object": "realtime.transcription_session", "id": session_id}
        return head | {"expires_at": expires_at} | members


AnyConfig = SessionConfig | TranscriptionConfig


_MERGED = ("audio", "input", "output", "transcription", "noise_reduction", "turn_detection")
"""Members that are objects of settings; every other object or list is replaced as a whole."""


def merged_session(current: AnyConfig, update: Mapping[str, Any]) -> dict[str, Any]:
    """`current` with `update` laid over it, not yet validated."""
    return _merge(current.model_dump(mode="json"), update)


def _merge(current: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(current)
    for name, value in update.items():
        if name in _MERGED and isinstance(value, dict):
            before = current.get(name)
            is_other_kind = isinstance(before, dict) and value.get("type", before.get("type")) != before.get("type")
            if name == "turn_detection" and (before is None or is_other_kind):
                merged[name] = {"type": "server_vad"} | value
            else:
                merged[name] = _merge({} if before is None or is_other_kind else before, value)
        else:
            merged[name] = value
    return merged
