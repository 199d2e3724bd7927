"""``callback``: it is noted that the caller wants to be called back, and they are told so in the plan's language."""

from __future__ import annotations

import re
from datetime import datetime

from gateway.calls.events import Command, Event, PlayoutEnded
from gateway.calls.events.steps import LeaveWish, Speak
from gateway.calls.steps.step import Step
from gateway.dialplan.mailboxes import Mailbox

PROMISES = {
    "cs": "Děkujeme. Zavoláme vám zpět.",
    "da": "Tak. Vi ringer tilbage til dig.",
    "de": "Vielen Dank. Wir rufen Sie zurück.",
    "en": "Thank you. We will call you back.",
    "es": "Gracias. Le devolveremos la llamada.",
    "fr": "Merci. Nous vous rappellerons.",
    "it": "Grazie. La richiameremo.",
    "nl": "Dank u wel. Wij bellen u terug.",
    "pl": "Dziękujemy. Oddzwonimy.",
    "pt": "Obrigado. Vamos ligar-lhe de volta.",
    "sv": "Tack. Vi ringer tillbaka.",
}
REFUSALS = {
    "cs": "Vaše číslo bohužel nevidíme, proto vám nemůžeme zavolat zpět.",
    "da": "Vi kan desværre ikke se dit nummer og kan derfor ikke ringe tilbage.",
    "de": "Ihre Nummer ist leider unterdrückt, deshalb können wir Sie nicht zurückrufen.",
    "en": "Your number is withheld, so we cannot call you back.",
    "es": "Su número está oculto, por lo que no podemos devolverle la llamada.",
    "fr": "Votre numéro est masqué, nous ne pouvons donc pas vous rappeler.",
    "it": "Il suo numero è nascosto, quindi non possiamo richiamarla.",
    "nl": "Uw nummer is afgeschermd, daarom kunnen wij u niet terugbellen.",
    "pl": "Państwa numer jest zastrzeżony, dlatego nie możemy oddzwonić.",
    "pt": "O seu número está oculto, por isso não podemos ligar-lhe de volta.",
    "sv": "Ditt nummer är dolt, så vi kan inte ringa tillbaka.",
}
_NUMBER = re.compile(r"\+?[0-9]{2,32}")
_MARKS = re.compile(r"[ ()/.-]")


class Callback(Step):
    """One wish to be called back at ``number``, as it was given; what is no number is refused."""

    def __init__(self, mailbox: Mailbox, number: str, language: str) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._number = dialable(number)
        self._answer = self.opening = Speak(text=_in(language, PROMISES if self._number else REFUSALS))

    def begin(self, _at: datetime) -> list[Command]:
        """Note it, and say so."""
        wish = [LeaveWish(mailbox=self._mailbox, number=self._number)] if self._number else []
        return [*wish, self._answer]

    def on(self, event: Event, _at: datetime) -> list[Command]:
        """It is over when it has been said."""
        return self._finish() if isinstance(event, PlayoutEnded) else []


def dialable(text: str) -> str:
    """The digits of a number, without what people write between them; "" for what is none."""
    number = _MARKS.sub("", text.strip())
    return number if _NUMBER.fullmatch(number) else ""


def _in(language: str, texts: dict[str, str]) -> str:
    return texts.get(language.partition("-")[0].lower(), texts["en"])
