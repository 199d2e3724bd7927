"""The check of a code that a caller has to know. Tries are counted a call, so that nobody guesses for long."""

from __future__ import annotations

import hmac

from gateway.calls.tools.outcome import Failure, Outcome, Result
from gateway.dialplan.tools import CodeCheck, plain_code


class CodeTries:
    """The tries of one call, by tool."""

    def __init__(self) -> None:
        self._failed: dict[str, int] = {}

    def check(self, tool: str, plan: CodeCheck, given: str) -> Outcome:
        """Whether `given` is one of the codes; spaces and dashes, as people say them, do not count."""
        failed = self._failed.get(tool, 0)
        if failed >= plan.tries:
            return Failure("too many wrong codes in this call: no more are taken")
        matches = [hmac.compare_digest(_plain(given), _plain(code)) for code in plan.codes]
        if any(matches):
            return Result({"verified": True})
        self._failed[tool] = failed + 1
        left = plan.tries - failed - 1
        return Failure(f"wrong code; {left} more may be tried" if left else "wrong code; no more are taken")


def _plain(code: str) -> bytes:
    return plain_code(code).encode("utf-8", "surrogatepass")
