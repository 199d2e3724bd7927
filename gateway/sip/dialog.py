"""The dialog: what two user agents remember of each other between requests (RFC 3261 12).

A `Dialog` numbers our requests, routes them and judges the number of the peer's. It sends nothing and knows no call:
INVITE, REFER's subscription and session timers are usages of it (RFC 5057), each in a module of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.sip.message import Headers, NameAddr, Request, Response, Uri

MAX_FORWARDS = 70
"""RFC 3261 8.1.1.6."""


@dataclass(slots=True, kw_only=True)
class Dialog:
    """One dialog from our side. `local` and `remote` hold the tags; a peer of RFC 2543 has none."""

    call_id: str
    local: NameAddr
    remote: NameAddr
    remote_target: Uri
    route_set: tuple[NameAddr, ...] = ()
    local_cseq: int = 0
    """Number of our last request; the next one is higher by one."""
    remote_cseq: int | None = None
    """Number of the peer's last request; None as long as it sent none."""
    is_secure: bool = False
    """Whether all of it must stay on TLS (RFC 3261 12.1.1)."""

    @classmethod
    def of_request(cls, request: Request, local_tag: str) -> Dialog:
        """Our side as server of `request` (RFC 3261 12.1.1)."""
        contacts = request.contacts
        # RFC 2543 elements may leave Contact out (RFC 4475 3.4.1); From is where they can be reached then.
        remote_target = contacts[0].uri if contacts else request.from_.uri
        return cls(
            call_id=request.call_id,
            local=request.to.with_parameter("tag", local_tag),
            remote=request.from_,
            remote_target=remote_target.without_headers(),
            route_set=tuple(request.route_set("Record-Route")),
            remote_cseq=request.cseq.number,
            is_secure=request.uri.scheme == "sips",
        )

    @classmethod
    def of_response(cls, request: Request, response: Response) -> Dialog:
        """Our side as client of `request`, made by a 1xx or 2xx to it (RFC 3261 12.1.2)."""
        dialog = cls(
            call_id=request.call_id,
            local=request.from_,
            remote=response.to,
            remote_target=request.uri,
            local_cseq=request.cseq.number,
            is_secure=request.uri.scheme == "sips",
        )
        dialog.refresh_route(response)
        return dialog

    def refresh_route(self, response: Response) -> None:
        """Take the route set from `response`, the reverse of its Record-Route, and its Contact.

        A 2xx does so again for a dialog that a 1xx has made (RFC 3261 13.2.2.4).
        """
        self.route_set = tuple(reversed(response.route_set("Record-Route")))
        self.refresh_target(response)

    def refresh_target(self, message: Request | Response) -> None:
        """Take the Contact of a target refresh, INVITE or UPDATE or a 2xx to one (RFC 3261 12.2, RFC 3311 5)."""
        contacts = message.contacts
        if contacts:
            self.remote_target = contacts[0].uri.without_headers()

    def matches(self, request: Request) -> bool:
        """Whether `request` belongs here: Call-ID and both tags (RFC 3261 12.2.2)."""
        return (request.call_id, request.to.tag, request.from_.tag) == (self.call_id, self.local.tag, self.remote.tag)

    def accepts_cseq(self, request: Request) -> bool:
        """Note the number of a new request; False if it is out of order, which is answered 500 (RFC 3261 12.2.2).

        The same number again is out of order, too: repetitions never come this far, their transaction absorbs them.
        """
        number = request.cseq.number
        if self.remote_cseq is not None and number <= self.remote_cseq:
            return False
        self.remote_cseq = number
        return True

    def next_cseq(self) -> int:
        """The number of our next request."""
        self.local_cseq += 1
        return self.local_cseq

    @property
    def next_hop(self) -> Uri:
        """Where our requests go first: the first route, else the remote target (RFC 3261 12.2.1.1, 8.1.2)."""
        return self.route_set[0].uri if self.route_set else self.remote_target

    def make_request(self, method: str, *, cseq: int | None = None) -> Request:
        """A request within the dialog, routed by RFC 3261 12.2.1.1; Via is the sender's to add.

        `cseq` is that of the INVITE for an ACK (RFC 3261 13.2.2.4), else the next number.
        """
        uri, routes = self._route()
        headers = Headers()
        headers.add("Max-Forwards", str(MAX_FORWARDS))
        for route in routes:
            headers.add("Route", str(route))
        headers.add("From", str(self.local))
        headers.add("To", str(self.remote))
        headers.add("Call-ID", self.call_id)
        headers.add("CSeq", f"{self.next_cseq() if cseq is None else cseq} {method}")
        return Request(method=method, uri=uri, headers=headers)

    def _route(self) -> tuple[Uri, tuple[NameAddr, ...]]:
        """Request-URI and Route of our requests."""
        if not self.route_set:
            return self.remote_target, ()
        first, *rest = self.route_set
        if first.uri.parameter("lr") is not None:
            return self.remote_target, self.route_set
        # A strict router (RFC 2543) wants itself in the Request-URI and the target at the end of the route.
        uri = first.uri.without_headers()
        return uri.without_parameters("method"), (*rest, NameAddr("", self.remote_target))
