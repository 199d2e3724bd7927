"""What callers leave in mailboxes, from the configuration to the running parts: store, mail server, who is told.

::

    start:  Mailer ─> Notifier ─> MessageStore (takes up what an earlier process left)
    close:  Notifier ─> Mailer ─> MessageStore       what is not told by then is told after the next start
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Self

import structlog

from gateway.calls.tools.http_tool import HttpClients, tell_service
from gateway.config import Configuration
from gateway.dialplan.model import Dialplan
from gateway.records.folder import folder_problem
from gateway.records.notices import Notifier
from gateway.records.voicemail import MessageStore, VoicemailOptions
from gateway.transport.mail import Mailer, MailOptions

_log = structlog.stdlib.get_logger("gateway.service")


class Messages:
    """The parts that keep messages, running. `clients` are those of all web requests."""

    def __init__(self, options: VoicemailOptions, mail: MailOptions | None, clients: HttpClients) -> None:
        self.store = MessageStore(options)
        self._mailer = None if mail is None else Mailer(mail)
        self._notifier = Notifier(self.store, partial(tell_service, clients), self._mailer)

    @classmethod
    def start(cls, configuration: Configuration, plans: Iterable[Dialplan], clients: HttpClients) -> Self | None:
        """Begin to keep messages; None where the configuration has no folder for them.

        A folder that cannot be used costs messages, not calls.
        """
        options = configuration.records.voicemail.options()
        if options is None:
            return None
        if problem := folder_problem(options.folder):
            _log.error("no messages can be kept", folder=str(options.folder), reason=problem)
        messages = cls(options, configuration.mail.options(), clients)
        messages.use(plans)
        if messages._mailer is not None:
            messages._mailer.start()
        messages.store.start(messages._notifier.take)
        return messages

    def use(self, plans: Iterable[Dialplan]) -> None:
        """Tell as the mailboxes of `plans` say."""
        self._notifier.use(plans)

    async def close(self) -> None:
        """Give what is on its way a moment, write what is left, and end."""
        await self._notifier.close()
        if self._mailer is not None:
            await asyncio.to_thread(self._mailer.close)
        await asyncio.to_thread(self.store.close)
