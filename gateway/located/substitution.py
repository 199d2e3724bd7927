"""Secrets into files: ``${env:NAME}`` and ``${file:/path}`` stand for what a variable or a file holds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import shown, shown_path
from gateway.located.nodes import WrongValue

_SUBSTITUTION = re.compile(r"\$\{(env|file):([^}]*)\}")


class Substitution:
    """Puts the environment and files in the place of ``${env:NAME}`` and ``${file:/path}``."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.used: set[str] = set()
        """Variables that were asked for."""

    def __call__(self, text: str) -> str:
        return _SUBSTITUTION.sub(self._value, text) if "${" in text else text

    def _value(self, match: re.Match[str]) -> str:
        kind, name = match.groups()
        if kind == "env":
            self.used.add(name)
            value = self._environment.get(name)
            if value is None:
                raise WrongValue(f"environment variable {shown(name)} is not set", expected=f"export {shown(name)}=…")
            return value
        try:
            return Path(name).read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not text"
            raise WrongValue(
                f"{shown_path(name)} cannot be read: {reason}", expected="expected a readable file"
            ) from error
