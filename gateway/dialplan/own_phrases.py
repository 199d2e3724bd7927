"""What the gateway itself says, to contacts and to callers who want to be called back, in the language of the plan.

::

    phrases of the plan ─┐
    SHIPPED[language] ───┴─> OwnPhrases ─> filled("Call from {caller}.", caller="Ann") ─> Call from Ann.

What goes into a phrase is data: braces in it stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from gateway.dialplan.request_template import parse_text_template


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPhrases:
    """The phrases of one language; what may stand in each is in `PLACES`."""

    call_from: str
    """Who calls."""
    withheld: str
    """Who calls, where the number is withheld."""
    keys: str
    """The key that takes the call, and the one that refuses it."""
    star: str
    hash: str
    message: str
    """What a model has written down of the caller."""
    said: str
    """What the caller said last."""
    callback: str
    """The caller will be called back."""
    callback_withheld: str
    callback_invalid: str
    """What the caller has entered, or calls from, is no number."""

    def key(self, key: str) -> str:
        """How a key of the telephone is called."""
        return {"*": self.star, "#": self.hash}.get(key, key)


PLACES: Mapping[str, tuple[str, ...]] = {
    "call_from": ("caller",),
    "keys": ("key", "refuse"),
    "message": ("text",),
    "said": ("text",),
}
"""What may stand in a phrase, in braces; the first in `NEEDED` has to."""
NEEDED = ("keys", "message", "said")


def filled(phrase: str, **values: str) -> str:
    """`phrase` with its places filled."""
    return parse_text_template(phrase).render(values)


SHIPPED: Mapping[str, OwnPhrases] = {
    "cs": OwnPhrases(
        call_from="Volá {caller}.",
        withheld="skryté číslo",
        keys="Hovor přijmete klávesou {key}, odmítnete klávesou {refuse}.",
        star="hvězdička",
        hash="křížek",
        message="Zpráva: {text}",
        said="Volající uvedl: {text}",
        callback="Děkujeme. Zavoláme vám zpět.",
        callback_withheld="Vaše číslo bohužel nevidíme, proto vám nemůžeme zavolat zpět.",
        callback_invalid="Toto číslo není platné, proto vám nemůžeme zavolat zpět.",
    ),
    "da": OwnPhrases(
        call_from="Opkald fra {caller}.",
        withheld="et skjult nummer",
        keys="Tryk på {key} for at tage imod opkaldet, på {refuse} for at afvise det.",
        star="stjerne",
        hash="firkant",
        message="Besked: {text}",
        said="Den, der ringer, sagde: {text}",
        callback="Tak. Vi ringer tilbage til dig.",
        callback_withheld="Vi kan desværre ikke se dit nummer og kan derfor ikke ringe tilbage.",
        callback_invalid="Det er ikke et gyldigt nummer, så vi kan ikke ringe tilbage.",
    ),
    "de": OwnPhrases(
        call_from="Anruf von {caller}.",
        withheld="einer unterdrückten Nummer",
        keys="Drücken Sie die {key}, um das Gespräch anzunehmen, die {refuse}, um es abzulehnen.",
        star="Sterntaste",
        hash="Rautetaste",
        message="Nachricht: {text}",
        said="Der Anrufer sagte: {text}",
        callback="Vielen Dank. Wir rufen Sie zurück.",
        callback_withheld="Ihre Nummer ist leider unterdrückt, deshalb können wir Sie nicht zurückrufen.",
        callback_invalid="Das ist leider keine gültige Nummer, deshalb können wir Sie nicht zurückrufen.",
    ),
    "en": OwnPhrases(
        call_from="Call from {caller}.",
        withheld="a withheld number",
        keys="Press {key} to take the call, {refuse} to refuse it.",
        star="star",
        hash="hash",
        message="Message: {text}",
        said="The caller said: {text}",
        callback="Thank you. We will call you back.",
        callback_withheld="Your number is withheld, so we cannot call you back.",
        callback_invalid="That is not a valid number, so we cannot call you back.",
    ),
    "es": OwnPhrases(
        call_from="Llamada de {caller}.",
        withheld="un número oculto",
        keys="Pulse {key} para aceptar la llamada, {refuse} para rechazarla.",
        star="asterisco",
        hash="almohadilla",
        message="Mensaje: {text}",
        said="La persona que llama ha dicho: {text}",
        callback="Gracias. Le devolveremos la llamada.",
        callback_withheld="Su número está oculto, por lo que no podemos devolverle la llamada.",
        callback_invalid="El número no es válido, por lo que no podemos devolverle la llamada.",
    ),
    "fr": OwnPhrases(
        call_from="Appelant : {caller}.",
        withheld="numéro masqué",
        keys="Appuyez sur {key} pour prendre l'appel, sur {refuse} pour le refuser.",
        star="étoile",
        hash="dièse",
        message="Message : {text}",
        said="L'appelant a dit : {text}",
        callback="Merci. Nous vous rappellerons.",
        callback_withheld="Votre numéro est masqué, nous ne pouvons donc pas vous rappeler.",
        callback_invalid="Ce numéro n'est pas valide, nous ne pouvons donc pas vous rappeler.",
    ),
    "it": OwnPhrases(
        call_from="Chiamata da {caller}.",
        withheld="un numero nascosto",
        keys="Prema {key} per accettare la chiamata, {refuse} per rifiutarla.",
        star="asterisco",
        hash="cancelletto",
        message="Messaggio: {text}",
        said="Chi chiama ha detto: {text}",
        callback="Grazie. La richiameremo.",
        callback_withheld="Il suo numero è nascosto, quindi non possiamo richiamarla.",
        callback_invalid="Il numero non è valido, quindi non possiamo richiamarla.",
    ),
    "nl": OwnPhrases(
        call_from="Oproep van {caller}.",
        withheld="een afgeschermd nummer",
        keys="Druk op {key} om het gesprek aan te nemen, op {refuse} om het te weigeren.",
        star="sterretje",
        hash="hekje",
        message="Bericht: {text}",
        said="De beller zei: {text}",
        callback="Dank u wel. Wij bellen u terug.",
        callback_withheld="Uw nummer is afgeschermd, daarom kunnen wij u niet terugbellen.",
        callback_invalid="Dat is geen geldig nummer, daarom kunnen wij u niet terugbellen.",
    ),
    "pl": OwnPhrases(
        call_from="Dzwoni: {caller}.",
        withheld="numer zastrzeżony",
        keys="Aby odebrać połączenie, proszę nacisnąć {key}, aby je odrzucić, {refuse}.",
        star="gwiazdkę",
        hash="krzyżyk",
        message="Wiadomość: {text}",
        said="Osoba dzwoniąca powiedziała: {text}",
        callback="Dziękujemy. Oddzwonimy.",
        callback_withheld="Państwa numer jest zastrzeżony, dlatego nie możemy oddzwonić.",
        callback_invalid="To nie jest prawidłowy numer, dlatego nie możemy oddzwonić.",
    ),
    "pt": OwnPhrases(
        call_from="Chamada de {caller}.",
        withheld="um número oculto",
        keys="Prima {key} para atender a chamada, {refuse} para a recusar.",
        star="asterisco",
        hash="cardinal",
        message="Mensagem: {text}",
        said="A pessoa que ligou disse: {text}",
        callback="Obrigado. Vamos ligar-lhe de volta.",
        callback_withheld="O seu número está oculto, por isso não podemos ligar-lhe de volta.",
        callback_invalid="Esse número não é válido, por isso não podemos ligar-lhe de volta.",
    ),
    "sv": OwnPhrases(
        call_from="Samtal från {caller}.",
        withheld="ett dolt nummer",
        keys="Tryck {key} för att ta emot samtalet, {refuse} för att avvisa det.",
        star="stjärna",
        hash="fyrkant",
        message="Meddelande: {text}",
        said="Den som ringer sade: {text}",
        callback="Tack. Vi ringer tillbaka.",
        callback_withheld="Ditt nummer är dolt, så vi kan inte ringa tillbaka.",
        callback_invalid="Det är inget giltigt nummer, så vi kan inte ringa tillbaka.",
    ),
}
"""By language (ISO 639-1)."""
ENGLISH = SHIPPED["en"]
NONE = OwnPhrases(**{place.name: "" for place in fields(OwnPhrases)})
"""Of a language in which nothing is shipped."""
