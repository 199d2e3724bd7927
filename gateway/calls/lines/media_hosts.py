"""Where audio of calls is received: one address for each family that signalling comes by."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.hop import Hop


@dataclass(frozen=True, slots=True)
class MediaHost:
    """One address of ours for audio."""

    bind: str
    """What RTP ports are bound to."""
    advertise: str
    """The same as SDP tells it."""


@dataclass(frozen=True, slots=True)
class MediaHosts:
    """All of them, at least one; the first serves whoever is of none of their families."""

    hosts: tuple[MediaHost, ...]

    def towards(self, hop: Hop) -> MediaHost:
        """The one for a call whose signalling goes by `hop`: of its address family where there is one."""
        return next((host for host in self.hosts if (":" in host.bind) == (":" in hop.host)), self.hosts[0])
