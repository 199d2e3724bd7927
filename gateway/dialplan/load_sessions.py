"""The section ``sessions`` into what callers talk to, or into what is wrong with it."""

from __future__ import annotations

from types import MappingProxyType

from gateway.dialplan.actions import PlayAction, Prompt, SayAction
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.model import Consent, RecordPlan, ReferenceKind, SessionLimits, SessionPlan
from gateway.dialplan.source import RecordSource, SessionSource
from gateway.dialplan.source_values import MAX_SAID_CHARACTERS
from gateway.dialplan.template import Template, parse_template
from gateway.dialplan.tools import SessionTool
from gateway.errors import ConfigurationError, shown
from gateway.located import read_text

PROMPT_SUFFIXES = (".md", ".txt")
SOUND_SUFFIX = ".wav"
NEEDS_PRICE = "expected realtime.{}.prices there, see docs/budget.md"
NEEDS_FOLDER = "expected records.recordings.folder there"
_OF_ANNOUNCEMENTS = {"play"}
_OF_QUESTIONS = {"agree", "decline", "wait"}


def load_sessions(loading: Loading) -> MappingProxyType[str, SessionPlan]:
    """All sessions of the plan."""
    return MappingProxyType({name: _session(loading, name, s) for name, s in loading.plan.sessions.items()})


def need_price(loading: Loading, session: str, path: Way) -> None:
    """Whoever counts money has to know what the model of a realtime `session` costs."""
    message = f"the configuration does not know what realtime session {session!r} costs, its model or its transcription"
    loading.need(ReferenceKind.PRICE, path, message, NEEDS_PRICE.format(session), name=session, at_key=False)


def _session(loading: Loading, name: str, session: SessionSource) -> SessionPlan:
    path: Way = ("sessions", name)
    loading.leave(ReferenceKind.REALTIME_SESSION, session.use, (*path, "use"))
    greeting, unknown = parse_template(session.greeting)
    if unknown or not greeting.is_fixed:
        loading.note((*path, "greeting"), "'greeting' holds a variable", "a greeting is the same for every caller")
    _check_tools(loading, path, session)
    if SessionTool.TRANSFER in session.tools and not loading.whole.keys(("contacts",)):
        index = session.tools.index(SessionTool.TRANSFER)
        loading.note((*path, "tools", index), "'transfer' has nobody to call", "expected contacts in this plan")
    if session.limits.money is not None:
        need_price(loading, session.use, (*path, "limits", "money"))
    if session.mailbox:
        _check_mailbox(loading, path, session)
    return SessionPlan(
        name=name,
        use=session.use,
        greeting=session.greeting or None,
        instructions=_instructions(loading, (*path, "instructions"), session.instructions),
        tools=tuple(dict.fromkeys(session.tools)),
        languages=tuple(dict.fromkeys(session.languages)),
        record=_record(loading, (*path, "record"), session.record) if session.record else None,
        limits=SessionLimits(minutes=session.limits.minutes, money=session.limits.money),
        mailbox=session.mailbox or None,
        protected=tuple(
            _protected(loading, (*path, "protect", index), text, session.use)
            for index, text in enumerate(session.protect)
        ),
    )


def _check_mailbox(loading: Loading, path: Way, session: SessionSource) -> None:
    loading.refer("mailboxes", session.mailbox, (*path, "mailbox"))
    if SessionTool.TAKE_MESSAGE not in session.tools:
        loading.note((*path, "mailbox"), "'mailbox' has no effect", "expected take_message among the tools")


def _check_tools(loading: Loading, path: Way, session: SessionSource) -> None:
    servers = {name: loading.plan.mcp.get(name) for name in loading.whole.keys(("mcp",))}
    loading.tools().check_session((*path, "tools"), session.tools, loading.whole.keys(("tools",)), servers)
    if SessionTool.SWITCH_LANGUAGE in session.tools and len(set(session.languages)) < 2:
        index = session.tools.index(SessionTool.SWITCH_LANGUAGE)
        loading.note((*path, "tools", index), "'switch_language' has no choice", "expected languages: [de, en]")
    if SessionTool.REPORT_SENTIMENT in session.tools:
        index = session.tools.index(SessionTool.REPORT_SENTIMENT)
        message = "'report_sentiment' is offered by itself"
        loading.note(
            (*path, "tools", index), message, "expected an escalation when: {sentiment: [angry]}, and it not here"
        )
    if session.languages and SessionTool.SWITCH_LANGUAGE not in session.tools:
        message = "'languages' has no effect without the tool switch_language"
        loading.note((*path, "languages"), message, "expected it in tools", at_key=True)


def _record(loading: Loading, path: Way, record: RecordSource) -> RecordPlan:
    message = "the configuration keeps no recordings"
    loading.need(ReferenceKind.RECORDINGS, path, message, NEEDS_FOLDER)
    consent, given = record.consent, record.model_fields_set
    if consent is not Consent.GIVEN and not record.play:
        what = "announcement" if consent is Consent.ANNOUNCE else "question"
        loading.note((*path, "consent"), f"consent by {consent.value} without 'play'", f"expected play: {what}.wav")
    useless = {
        Consent.GIVEN: _OF_ANNOUNCEMENTS | _OF_QUESTIONS,
        Consent.ANNOUNCE: _OF_QUESTIONS,
        Consent.ASK: set(),
    }
    for key in sorted(useless[consent] & given):
        loading.note((*path, key), f"{key!r} has no effect with consent: {consent.value}", at_key=True)
    if consent is Consent.ASK and record.agree == record.decline:
        place = "decline" if "decline" in given else "agree"
        loading.note((*path, place), f"{record.agree!r} both agrees and declines", "expected two different keys")
    return RecordPlan(
        consent=consent,
        play=loading.sound((*path, "play"), record.play) if record.play else None,
        agree=record.agree,
        decline=record.decline,
        wait_s=record.wait,
        has_contacts=record.contacts,
    )


def _instructions(loading: Loading, path: Way, text: str) -> Template | None:
    if _is_file(text, *PROMPT_SUFFIXES):
        written = _text_of_file(loading, path, text)
        return None if written is None else loading.prompt(loading.folder / text, written)
    template = loading.text(path, text)
    return template if text.strip() else None


def _protected(loading: Loading, path: Way, text: str, use: str) -> Prompt:
    """A prompt that is heard to its end, spoken as the session `use` of the configuration speaks."""
    if _is_file(text, SOUND_SUFFIX):
        return PlayAction(file=loading.sound(path, text), is_protected=True)
    if not _is_file(text, *PROMPT_SUFFIXES):
        loading.text(path, text)
        return _spoken(text, use)
    written = _text_of_file(loading, path, text)
    if written is not None and (not written.strip() or len(written) > MAX_SAID_CHARACTERS):
        expected = f"expected 1 to {MAX_SAID_CHARACTERS} characters"
        loading.note(path, f"{shown(text)!r} is empty or too long to be spoken", expected)
    loading.prompt(loading.folder / text, written or "")
    return _spoken(written or "", use)


def _spoken(text: str, use: str) -> SayAction:
    """`text` on one line: where a file breaks its lines is not heard."""
    template, _ = parse_template(" ".join(text.split()))
    return SayAction(text=template, is_protected=True, use=use)


def _is_file(text: str, *suffixes: str) -> bool:
    return text.endswith(suffixes) and len(text.split()) == 1


def _text_of_file(loading: Loading, path: Way, name: str) -> str | None:
    """What stands in a file beside the plan; None, and noted, where it cannot be read."""
    file = loading.folder / name
    try:
        return read_text(file, str(file))
    except ConfigurationError as error:
        trouble = error.problems[0]
        loading.note(path, f"{shown(name)!r}: {trouble.message}", trouble.expected)
        return None
