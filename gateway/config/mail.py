"""The section ``mail``: the server that takes letters about messages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from gateway.config.values import default_of
from gateway.located import Seconds, Section, WrongValue
from gateway.transport.mail import MailOptions, MailSecurity, is_address


def _address(text: str) -> str:
    if not is_address(text):
        raise WrongValue(expected="expected a mail address such as gateway@example.com")
    return text


MailAddress = Annotated[str, AfterValidator(_address)]


class MailSection(Section):
    """A mail server."""

    host: str | None = None
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    security: MailSecurity = default_of(MailOptions, "security")
    user: str = ""
    password: str = Field(default="", repr=False)
    from_: MailAddress | None = Field(default=None, alias="from")
    ca_file: Path | None = None
    timeout: Annotated[Seconds, Field(ge=1, le=60)] = default_of(MailOptions, "timeout_s")

    @model_validator(mode="after")
    def _is_of_one_piece(self) -> MailSection:
        if self.host is not None and self.from_ is None:
            raise WrongValue("has a host and no from", expected="expected from: ADDRESS, whom letters come from")
        if bool(self.user) != bool(self.password):
            raise WrongValue("has user or password alone", expected="expected both, or neither")
        if self.password and self.security == "none":
            raise WrongValue("tells a password without TLS", expected="expected security: tls or starttls")
        return self

    def options(self) -> MailOptions | None:
        """The same for whoever sends; None where no server is named."""
        if self.host is None or self.from_ is None:
            return None
        return MailOptions(
            host=self.host,
            port=self.port,
            security=self.security,
            user=self.user,
            password=self.password,
            sender=self.from_,
            ca_file=self.ca_file,
            timeout_s=self.timeout,
        )
