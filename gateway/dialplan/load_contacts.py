"""The sections ``contacts`` and ``mailboxes`` into whom a call may be sent to, or into what is wrong with them."""

from __future__ import annotations

from types import MappingProxyType

from gateway.dialplan.action_source import PromptSource
from gateway.dialplan.actions import PlayAction, Prompt, SayAction
from gateway.dialplan.contact_source import AcceptSource, ContactSource, MailboxSource, NoticeSource
from gateway.dialplan.contacts import Acceptance, Contact, Quota, SummaryWay, TransferMode
from gateway.dialplan.hours import is_always_open, surely_cover
from gateway.dialplan.loading import Loading, Way
from gateway.dialplan.mailboxes import EmailNotice, Mailbox, Notice, WebhookNotice
from gateway.dialplan.messages import AUDIO_FACT, MESSAGE_FACTS
from gateway.dialplan.model import ReferenceKind
from gateway.dialplan.pattern import parse_text
from gateway.dialplan.request_template import FACTS
from gateway.dialplan.targets import parse_target
from gateway.errors import shown
from gateway.located import hint

NEEDS_MAIL = "expected mail: {host: ..., from: ...} there"
NEEDS_VOICEMAIL = "expected records.voicemail.folder there"

_WAYS = {
    TransferMode.BLIND: {SummaryWay.WEBHOOK},
    TransferMode.ATTENDED: {SummaryWay.HEADER, SummaryWay.WEBHOOK},
}
"""How contacts who hear nothing of us learn what a call is about."""


def load_prompt(loading: Loading, path: Way, prompt: PromptSource) -> Prompt | None:
    """What is heard before the caller is to do something; None: nothing."""
    if prompt.say:
        loading.need_voice((*path, "say"))
        return SayAction(text=loading.text((*path, "say"), prompt.say))
    return PlayAction(file=loading.sound((*path, "play"), prompt.play)) if prompt.play else None


def load_contacts(loading: Loading) -> MappingProxyType[str, Contact]:
    """All contacts of the plan."""
    for name, contact in loading.plan.contacts.items():
        _check_stand_in(loading, ("contacts", name), contact)
    for name in loading.plan.contacts:
        _check_turns(loading, name)
    _check_loops(loading)
    return MappingProxyType({name: _contact(loading, name, contact) for name, contact in loading.plan.contacts.items()})


def _contact(loading: Loading, name: str, contact: ContactSource) -> Contact:
    path: Way = ("contacts", name)
    if contact.trunk:
        loading.leave(ReferenceKind.TRUNK, contact.trunk, (*path, "trunk"))
    is_mailbox = contact.else_ in loading.whole.keys(("mailboxes",))
    acceptance = _acceptance(loading, path, contact)
    mode = contact.mode or _mode(contact)
    _check_mode(loading, path, contact, mode)
    return Contact(
        name=name,
        description=contact.description,
        targets=tuple(parse_target(text) for text in contact.dial),
        ring_s=contact.ring,
        mode=mode,
        confirm=contact.confirm is True,
        hours=contact.when or None,
        otherwise=None if is_mailbox else contact.else_ or None,
        mailbox=contact.else_ if is_mailbox else None,
        pattern=parse_text(contact.pattern) if contact.pattern else None,
        trunk=contact.trunk or None,
        acceptance=acceptance,
        summary=frozenset(contact.summary),
        webhook=loading.tools().request((*path, "webhook"), contact.webhook, facts=loading.facts)
        if contact.webhook
        else None,
        music=loading.sound((*path, "music"), contact.music) if contact.music else None,
        quota=Quota(per_call=contact.quota.per_call, per_hour=contact.quota.per_hour),
    )


def _mode(contact: ContactSource) -> TransferMode:
    """Warm where the contact is to be asked or told something, attended where we dial it by a trunk, else blind."""
    if contact.accept is not None or contact.confirm == "dtmf" or contact.summary:
        return TransferMode.WARM
    return TransferMode.ATTENDED if contact.trunk else TransferMode.BLIND


def _acceptance(loading: Loading, path: Way, contact: ContactSource) -> Acceptance | None:
    if contact.accept is None and contact.confirm != "dtmf":
        return None
    accept = contact.accept or AcceptSource()
    if accept.key == accept.refuse:
        place = "refuse" if "refuse" in accept.model_fields_set else "key"
        message = f"{accept.key!r} both takes and refuses the call"
        loading.note((*path, "accept", place), message, "expected two different keys")
    return Acceptance(key=accept.key, refuse=accept.refuse, wait_s=accept.wait)


def _check_mode(loading: Loading, path: Way, contact: ContactSource, mode: TransferMode) -> None:
    """Note what the way of handing over leaves no room for."""
    written, place = contact.model_fields_set, (*path, "mode")
    if contact.summary and SummaryWay.WEBHOOK in contact.summary and contact.webhook is None:
        loading.note((*path, "summary"), "'summary' by webhook without 'webhook'", "expected webhook: {url: ...}")
    if contact.webhook is not None and SummaryWay.WEBHOOK not in contact.summary:
        loading.note(
            (*path, "webhook"), "'webhook' has no effect", "expected summary: [webhook] beside it", at_key=True
        )
    if contact.pattern and contact.pattern.strip() == "*":
        loading.note((*path, "pattern"), "'pattern' takes every number", "expected such as /[1-7][0-9]{3}/ or +4930*")
    if mode is TransferMode.WARM:
        loading.need_voice(place if "mode" in written else path)
        return
    useless: list[str] = ["accept"] if "accept" in written else []
    useless += ["summary"] if not set(contact.summary) <= _WAYS[mode] else []
    useless += ["confirm"] if contact.confirm == "dtmf" else []
    useless += ["music"] if "music" in written and mode is TransferMode.BLIND else []
    for key in useless:
        expected = "expected mode: attended or warm" if key == "music" else "expected mode: warm"
        loading.note((*path, key), f"{key!r} has no effect with mode: {mode.value}", expected, at_key=True)
    if contact.trunk and mode is TransferMode.BLIND:
        message = "'trunk' with mode: blind would ask a PBX to call by another one"
        loading.note((*path, "trunk"), message, "expected mode: attended or warm", at_key=True)


def _check_stand_in(loading: Loading, path: Way, contact: ContactSource) -> None:
    if contact.when:
        loading.refer("hours", contact.when, (*path, "when"))
    if not contact.else_:
        return
    contacts, mailboxes = loading.whole.keys(("contacts",)), loading.whole.keys(("mailboxes",))
    if contact.else_ not in (*contacts, *mailboxes):
        none_of = "contact or mailbox" if mailboxes else "contact"
        message = f"there is no {none_of} {shown(contact.else_)!r}"
        loading.note((*path, "else"), message, hint(contact.else_, (*contacts, *mailboxes)))
    elif contact.else_ in contacts and contact.else_ in mailboxes:
        message = f"{contact.else_!r} is a contact and a mailbox"
        loading.note((*path, "else"), message, "expected different names for them")
    stand_in = loading.plan.contacts.get(contact.else_)
    if stand_in and stand_in.pattern and contact.else_ not in mailboxes:
        message = f"contact {contact.else_!r} has a pattern, and nobody names its number"
        loading.note((*path, "else"), message, "expected a contact with dial")
    if not contact.when and contact.else_ in contacts:
        message = "'else' has no effect without 'when'"
        loading.note((*path, "else"), message, "expected when: HOURS beside it", at_key=True)


def _check_turns(loading: Loading, name: str) -> None:
    """Note a contact that is never needed, or never open when it is: with it all that stand in for it."""
    contacts = loading.plan.contacts
    contact, place = contacts[name], ("contacts", name, "else")
    if contact.else_ not in contacts or not (hours := loading.hours.get(contact.when)):
        return
    if is_always_open(hours):
        message = f"contact {contact.else_!r} is never called: {contact.when!r} is always open"
        loading.note(place, message, "expected no 'when', or hours that close")
        return
    before, chain = [hours], [contact.else_]
    while stand_in := contacts.get(chain[-1]):
        known = loading.hours.get(stand_in.when)
        if known is None or stand_in.else_ in (name, *chain) or not surely_cover(before, known):
            return
        before.append(known)
        chain.append(stand_in.else_)
    if not chain[-1]:
        message = f"contact {chain[0]!r} is never open while {contact.when!r} is closed"
        loading.note(place, message, "expected another contact, or a mailbox")


def _check_loops(loading: Loading) -> None:
    """Note each ring of stand-ins once, at its first contact."""
    contacts = loading.plan.contacts
    reported: set[str] = set()
    for name in contacts:
        chain = [name]
        while (after := contacts.get(chain[-1])) and after.else_ and after.else_ not in chain:
            chain.append(after.else_)
        closes = after is not None and after.else_ == name
        if closes and name not in reported:
            reported.update(chain)
            message = f"contact {name!r} stands in for itself: {' -> '.join([*chain, name])}"
            loading.note(("contacts", name, "else"), shown(message, 200), "expected a chain that ends")


def load_mailboxes(loading: Loading) -> MappingProxyType[str, Mailbox]:
    """All mailboxes of the plan."""
    return MappingProxyType(
        {name: _mailbox(loading, name, mailbox) for name, mailbox in loading.plan.mailboxes.items()}
    )


def _mailbox(loading: Loading, name: str, mailbox: MailboxSource) -> Mailbox:
    path: Way = ("mailboxes", name)
    loading.need(ReferenceKind.VOICEMAIL, path, "the configuration keeps no messages", NEEDS_VOICEMAIL, name=name)
    if mailbox.transcript:
        loading.need_voice(path)
    return Mailbox(
        name=name,
        prompt=load_prompt(loading, path, mailbox),
        has_beep=mailbox.beep,
        limit_s=mailbox.limit,
        silence_s=mailbox.silence,
        has_transcript=mailbox.transcript,
        notices=tuple(
            _notice(loading, (*path, "notify", index), notice) for index, notice in enumerate(mailbox.notify)
        ),
    )


def _notice(loading: Loading, path: Way, notice: NoticeSource) -> Notice:
    if notice.word == "webhook":
        facts = (*FACTS, *MESSAGE_FACTS, *([AUDIO_FACT] if notice.webhook.attach else []))
        request = loading.tools().request((*path, "webhook"), notice.webhook, facts=facts)
        return WebhookNotice(request=request, attaches=notice.webhook.attach)
    loading.need(ReferenceKind.MAIL, (*path, "email"), "the configuration has no mail server", NEEDS_MAIL)
    return EmailNotice(to=notice.email.to, subject=notice.email.subject, attaches=notice.email.attach)
