"""The section ``phrases``: what the plan has the gateway say in place of what is shipped for its language."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from gateway.dialplan.actions import Action, CallbackAction, walk
from gateway.dialplan.contacts import Acceptance, Contact, TransferMode
from gateway.dialplan.loading import Loading
from gateway.dialplan.own_phrases import NEEDED, NONE, PLACES, SHIPPED, OwnPhrases, filled
from gateway.dialplan.request_template import parse_text_template
from gateway.errors import shown
from gateway.located import hint

WHISPERED = ("call_from", "withheld", "keys")
SUMMED_UP = ("message", "said")
CALLED_BACK = ("callback", "callback_withheld", "callback_invalid")


def load_phrases(loading: Loading, contacts: Iterable[Contact], actions: Iterable[Action]) -> OwnPhrases:
    """What is said to `contacts`, and by `actions`. A language without phrases is noted where one is to be said."""
    written = {name: str(getattr(loading.plan.phrases, name)) for name in loading.plan.phrases.model_fields_set}
    for name, phrase in written.items():
        _check_places(loading, name, phrase)
    language = loading.plan.language
    if language not in SHIPPED:
        known = loading.whole.keys(("phrases",))
        missing = [name for name in dict.fromkeys(_said(contacts, actions)) if name not in known]
        if missing:
            phrases = ", ".join(f"{name}: ..." for name in missing)
            expected = f"expected phrases: {{{phrases}}}, or one of {', '.join(SHIPPED)}"
            loading.note(("language",), f"'language' is {language!r}, which the gateway does not speak", expected)
    plain = {name: filled(phrase) for name, phrase in written.items() if name not in PLACES}
    return replace(SHIPPED.get(language, NONE), **(written | plain))


def unspeakable(phrases: OwnPhrases, actions: Iterable[Action]) -> tuple[str, ...]:
    """The phrases that `actions` of a web service would need, and a plan that was not asked for them lacks."""
    return tuple(name for name in dict.fromkeys(_said((), actions)) if not getattr(phrases, name))


def _said(contacts: Iterable[Contact], actions: Iterable[Action]) -> Iterator[str]:
    """The names of the phrases that may be said."""
    for contact in contacts:
        if contact.mode is TransferMode.WARM:
            yield from WHISPERED
            accept = contact.acceptance or Acceptance()
            yield from ("star",) if "*" in (accept.key, accept.refuse) else ()
            yield from ("hash",) if "#" in (accept.key, accept.refuse) else ()
        yield from SUMMED_UP if contact.ways else ()
    if any(isinstance(action, CallbackAction) for action in walk(tuple(actions))):
        yield from CALLED_BACK


def _check_places(loading: Loading, name: str, phrase: str) -> None:
    path, places = ("phrases", name), PLACES.get(name, ())
    used = parse_text_template(phrase).names
    for place in used:
        if place not in places:
            expected = hint(place, places) if places else "expected no variable"
            loading.note(path, f"unknown variable {{{shown(place)}}}", expected)
    if name in NEEDED and places[0] not in used:
        loading.note(path, f"{name!r} leaves out what it is there for", f"expected {{{places[0]}}} in it")
