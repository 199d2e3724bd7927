"""Running calls for tests of what happens within them: the gateway on one side, a scripted PBX on the other."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.sip.events import CallOffered
from gateway.sip.message import Request, Response, Uri
from gateway.sip.user_agent import UserAgent
from tests.support.wire import (
    PBX,
    Party,
    ScriptedPeer,
    Wire,
    description,
    gateway_on,
    respond,
    scripted_on,
)

OURS = description()
THEIRS = description(PBX.host, 20000)


@dataclass(slots=True)
class RunningCall:
    """A call that is established. `ok` is the 2xx that did it; the PBX counts its requests in `cseq`."""

    wire: Wire
    gateway: Party
    pbx: ScriptedPeer
    leg_id: str
    ok: Response
    gateway_is_caller: bool
    cseq: int = field(default=1)

    @property
    def user_agent(self) -> UserAgent:
        return self.gateway.user_agent

    def request(self, method: str, *, cseq: int | None = None, **parts: object) -> Request:
        """The PBX's next request within the call, not sent yet."""
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        if self.gateway_is_caller:
            invite = self.pbx.requests("INVITE")[0]
            return self.pbx.backwards(method, invite, cseq=cseq, tag=self.ok.to.tag or "", **parts)
        return self.pbx.within(method, self.ok, cseq=cseq, **parts)

    def send(self, method: str, **parts: object) -> Request:
        """Let the PBX send its next request within the call."""
        request = self.request(method, **parts)
        self.pbx.send(request)
        self.wire.run(0.1)
        return request

    def offer(self, method: str = "INVITE", *, port: int = 20002, **parts: object) -> Request:
        """Let the PBX offer a change."""
        body = description(PBX.host, port, version=1).to_bytes()
        return self.send(method, body=body, content_type="application/sdp", **parts)

    def ack(self, request: Request, body: bytes = b"") -> None:
        """Let the PBX acknowledge our 2xx to its `request`."""
        content_type = "application/sdp" if body else None
        self.send("ACK", cseq=request.cseq.number, body=body, content_type=content_type)

    def reply(self, method: str, status: int, **parts: object) -> Response:
        """Let the PBX answer the latest request of ours."""
        parts.setdefault("to_tag", None)
        response = respond(self.pbx.requests(method)[-1], status, **parts)  # type: ignore[arg-type]
        self.pbx.send(response)
        self.wire.run(0.1)
        return response

    def statuses(self, method: str, request: Request | None = None) -> list[int]:
        """What we answered requests of that method with; only that one's, where one is given."""
        return [
            response.status
            for response in self.pbx.responses(method=method)
            if request is None or response.cseq == request.cseq
        ]


def taken_call(
    wire: Wire | None = None, *, headers: tuple[tuple[str, str], ...] = (), **options: object
) -> RunningCall:
    """A call that the PBX placed and the gateway answered."""
    wire = wire or Wire()
    gateway, pbx = gateway_on(wire, **options), scripted_on(wire)  # type: ignore[arg-type]
    pbx.send(pbx.invite(offer=THEIRS, headers=headers))
    wire.run(0.1)
    leg_id = gateway.last(CallOffered).leg_id
    gateway.user_agent.answer(leg_id, OURS, wire.now)
    wire.run(0.1)
    ok = pbx.responses(200, "INVITE")[0]
    pbx.send(pbx.ack(ok))
    wire.run(0.1)
    return RunningCall(wire, gateway, pbx, leg_id, ok, gateway_is_caller=False)


def placed_call(
    wire: Wire | None = None, *, headers: tuple[tuple[str, str], ...] = (), **options: object
) -> RunningCall:
    """A call that the gateway placed and the PBX answered."""
    wire = wire or Wire()
    gateway, pbx = gateway_on(wire, **options), scripted_on(wire)  # type: ignore[arg-type]
    leg_id = gateway.user_agent.invite("pbx", Uri.parse("sip:6001@10.0.0.2"), offer=OURS, now=wire.now)
    wire.run(0.1)
    ok = respond(pbx.requests("INVITE")[0], 200, answer=THEIRS, headers=headers)
    pbx.send(ok)
    wire.run(0.1)
    return RunningCall(wire, gateway, pbx, leg_id, ok, gateway_is_caller=True)
