"""SIPp: calls by a stack that shares nothing with ours, scenario by scenario.

A scenario is a list of steps, made by the functions below and rendered as SIPp's XML, or the name of one of SIPp's own.
SIPp ends with status 0 when every call went as its scenario says; anything else fails the test with SIPp's own words.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.pbx import HOST, free_port

MEDIA_PORTS = 21000
"""From here on: no PBX has its ports for audio there."""

END_DEADLINE_S = 10.0
RECORDINGS = Path("/usr/share/sip-tester")
"""Where Debian keeps the RTP that SIPp's own scenarios play."""

HEAD = """\
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK-[pid]-[call_number]-{branch}
From: <sip:sipp@[local_ip]:[local_port]>;tag=[pid]sipp[call_number]
To: <sip:[service]@[remote_ip]:[remote_port]>{to_tag}
Call-ID: [call_id]
CSeq: {cseq} {method}
Contact: <sip:sipp@[local_ip]:[local_port]>
Max-Forwards: 70
"""
ANSWER = """\
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:sipp@[local_ip]:[local_port]>
"""


def sdp(direction: str = "sendrecv", *, version: int = 1, port: str = "[media_port]") -> str:
    """A description with PCMU and telephone events."""
    return (
        f"v=0\no=sipp 1 {version} IN IP[local_ip_type] [local_ip]\ns=-\nc=IN IP[media_ip_type] [media_ip]\nt=0 0\n"
        f"m=audio {port} RTP/AVP 0 101\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\n"
        f"a=fmtp:101 0-15\na=ptime:20\na={direction}\n"
    )


def request(
    method: str,
    cseq: int,
    *,
    headers: str = "",
    body: str = "",
    kind: str = "application/sdp",
    branch: str = "",
    is_first: bool = False,
    is_repeated: bool = True,
    transaction: str = "",
    acknowledges: str = "",
) -> str:
    """Send a request within the call, or the first one; repeated until something comes, an ACK never.

    SIPp sends nothing else before what is repeated was answered. A `transaction` is named for `expect(of=)`, which
    alone takes its responses then, and for the ACK that `acknowledges` it.
    """
    head = HEAD.format(
        branch=branch or f"{method}-{cseq}", cseq=cseq, method=method, to_tag="" if is_first else "[peer_tag_param]"
    )
    content = f"Content-Type: {kind}\n" if body else ""
    text = (
        f"{method} sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n{head}{headers}{content}Content-Length: [len]\n\n"
    )
    options = ' retrans="500"' if is_repeated and method != "ACK" else ""
    for name, value in {"start_txn": transaction, "ack_txn": acknowledges}.items():
        options += f' {name}="{value}"' if value else ""
    return f"<send{options}><![CDATA[\n{text}{body}]]></send>"


def answer(status: int, reason: str, *, headers: str = "", body: str = "") -> str:
    """Answer the request that came last."""
    content = "Content-Type: application/sdp\n" if body else ""
    text = f"SIP/2.0 {status} {reason}\n{ANSWER}{headers}{content}Content-Length: [len]\n\n"
    return f"<send><![CDATA[\n{text}{body}]]></send>"


def expect(
    message: int | str,
    *checks: str,
    of: str = "",
    is_optional: bool = False,
    go_to: str = "",
    where: str = "",
    within_ms: int = 8000,
    otherwise: str = "",
) -> str:
    """Wait for a status or a request in whose text every pattern of `checks` is found.

    A status may be `of` one transaction only; SIPp takes an INVITE and its CANCEL for one. When it came the scenario
    goes on behind the label `go_to` (only if `where` is found in it), when it does not come behind `otherwise`.
    """
    options = ' response="{}"' if isinstance(message, int) else ' request="{}"'
    options = options.format(message) + (' optional="true"' if is_optional else "")
    if otherwise or not is_optional:
        options += f' timeout="{within_ms}"'
    where_test = "where" if where else ""
    for name, value in {"response_txn": of, "next": go_to, "test": where_test, "ontimeout": otherwise}.items():
        options += f' {name}="{value}"' if value else ""
    searches = "".join(
        f'<ereg regexp="{check}" search_in="msg" check_it="true" assign_to="found"/>' for check in checks
    )
    searches += f'<ereg regexp="{where}" search_in="msg" assign_to="where"/>' if where else ""
    return f"<recv{options}>{f'<action>{searches}</action>' if searches else ''}</recv>"


def pause(milliseconds: int) -> str:
    return f'<pause milliseconds="{milliseconds}"/>'


def label(number: str) -> str:
    """A place to go on from; SIPp wants it numbered."""
    return f'<label id="{number}"/>'


def go_to(number: str) -> str:
    return f'<nop next="{number}"/>'


def action(what: str) -> str:
    return f"<nop><action>{what}</action></nop>"


def provisional(of: str = "") -> list[str]:
    """What may come before a final response."""
    return [expect(status, of=of, is_optional=True) for status in (100, 180, 183)]


def call(*, headers: str = "", body: str | None = None, checks: Sequence[str] = ()) -> list[str]:
    """INVITE, 200, ACK."""
    offer = sdp() if body is None else body
    invite = request("INVITE", 1, headers=headers, body=offer, is_first=True)
    return [invite, *provisional(), expect(200, *checks), request("ACK", 1, branch="ACK-1")]


def hang_up(cseq: int) -> list[str]:
    return [request("BYE", cseq), expect(200)]


def be_hung_up_on(*, within_ms: int = 8000) -> list[str]:
    return [expect("BYE", within_ms=within_ms), answer(200, "OK")]


def reoffer(cseq: int, body: str, *checks: str) -> list[str]:
    """A re-INVITE that is agreed to."""
    again = request("INVITE", cseq, body=body)
    return [again, expect(100, is_optional=True), expect(200, *checks), request("ACK", cseq, branch=f"ACK-{cseq}")]


def routed(steps: Sequence[str]) -> list[str]:
    """The same call by way of a proxy: what is said within it goes by the route that was recorded (RFC 3261 12.2.1)."""
    by_route = []
    for step in steps:
        if "[peer_tag_param]" in step:
            start, _, rest = step.partition("sip:[service]@[remote_ip]:[remote_port] SIP/2.0\n")
            by_route.append(f"{start}[next_url] SIP/2.0\n[routes]\n{rest}")
        else:
            by_route.append(step.replace('<recv response="200"', '<recv response="200" rrs="true"'))
    return by_route


def rendered(steps: Sequence[str]) -> str:
    """The scenario as SIPp reads it."""
    lines = "\n".join(steps)
    used = '<Reference variables="found"/>' if 'assign_to="found"' in lines else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<scenario name="scenario">\n{lines}\n{used}\n</scenario>\n'


def obstacle() -> str:
    """Why SIPp cannot be had on this machine; empty when it can."""
    return "" if shutil.which("sipp") else "SIPp is not installed: apt-get install sip-tester"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What SIPp is to do: `calls` of `scenario` (steps, or the name of one of SIPp's own) to `number` at `port`."""

    scenario: Sequence[str] | str
    port: int
    number: str = "7000"
    calls: int = 1
    rate_cps: float = 10.0
    hold_ms: int = 0
    """For SIPp's own scenarios: how long a call lasts."""
    host: str = HOST
    own_host: str = HOST
    keys: Mapping[str, str] = field(default_factory=dict)
    within_s: float = 30.0
    options: Sequence[str] = ()
    command: Sequence[str] = ()
    """Put before the command, as `ip netns exec NAME`."""


class Sipp:
    """One run of SIPp in a folder of its own; a context manager that ends what it started."""

    def __init__(self, run: Run, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._run = run
        with (folder / "screen").open("w") as screen:
            self.process = subprocess.Popen(
                self._command(), stdin=subprocess.DEVNULL, stdout=screen, stderr=screen, cwd=folder, env=_environment()
            )

    def _command(self) -> list[str]:
        run = self._run
        if isinstance(run.scenario, str):
            scenario = ["-sn", run.scenario]
            (self._folder / "pcap").symlink_to(RECORDINGS)
        else:
            (self._folder / "scenario.xml").write_text(rendered(run.scenario))
            scenario = ["-sf", "scenario.xml"]
        own_port = free_port()
        return [
            *run.command, "sipp", *scenario, f"{run.host}:{run.port}", "-s", run.number,
            "-i", run.own_host, "-p", str(own_port), "-mi", run.own_host, "-mp", str(free_port(MEDIA_PORTS)),
            "-m", str(run.calls), "-l", str(run.calls), "-r", str(run.rate_cps), "-d", str(run.hold_ms),
            "-timeout", f"{run.within_s:g}s", "-timeout_error", "-nostdin",
            "-trace_err", "-error_file", "errors", "-trace_msg", "-message_file", "messages",
            *(word for name, value in run.keys.items() for word in ("-key", name, value)),
            *run.options,
        ]  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    def kill(self) -> None:
        """End it where it stands: nobody is told."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def wait(self) -> None:
        """Wait for its end. Raises: AssertionError with what SIPp says unless every call went as it should."""
        status = self.process.wait(self._run.within_s + END_DEADLINE_S)
        assert status == 0, f"SIPp ended with {status}:\n{self.errors[-6000:]}"

    @property
    def errors(self) -> str:
        return self._text("errors") or self._text("screen")

    @property
    def messages(self) -> str:
        """Every SIP message, both ways."""
        return self._text("messages")

    def _text(self, name: str) -> str:
        file = self._folder / name
        return file.read_text(errors="replace") if file.exists() else ""


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TERM": "xterm", "LANG": "C.UTF-8"}
