"""How much audio is sent to an address that has not shown that it wants any.

SDP is the peer's word: whoever may call could aim the audio of a call at somebody else, who never asked. So an address
must prove itself, by sending RTP from there, by an RTCP report that it receives our stream, or by being a trunk's own
(its peer, or in its ACL, where the address is the credential). Addresses that have not get five seconds of audio, all
those that a call names together: enough for devices behind a NAT, which wait for our packets before they send theirs,
too little to be worth a call.
"""

from __future__ import annotations

from dataclasses import dataclass

UNPROVEN_PACKETS = 250
"""Five seconds at 20 ms a packet."""


@dataclass(slots=True)
class Proof:
    """What one port knows about the address it sends to."""

    host: str = ""
    is_given: bool = False
    _left: int = UNPROVEN_PACKETS

    def begin(self, host: str, *, is_trusted: bool) -> None:
        """Send to `host` from now on; the same as before stays what it was."""
        if host != self.host:
            self.host, self.is_given = host, is_trusted

    def spend(self) -> bool:
        """Whether one more packet may be sent."""
        if self.is_given:
            return True
        self._left -= 1
        return self._left >= 0
