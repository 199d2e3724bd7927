"""The gateway as operators run it: its own process, a configuration file, JSON lines on standard output."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.interop.pbx import HOST, free_port, wait_until
from tests.support.listening import tone, write_wav

GREETING = "Welcome to the laboratory, how can I help you?"
READY_DEADLINE_S = 40.0  # the embedded server loads its speech models on a busy machine
STOP_DEADLINE_S = 15.0
_BYE_CAME = r"= server \d+ BYE: Initial -> Trying"
_RELEASE_LEFT = r"= client \d+ (?:BYE|CANCEL): Initial -> Trying"

DIALPLAN = """\
version: 1
name: interop
timezone: UTC
contacts:
  operator: {dial: [sip:6001], description: a human agent}
  busy: {dial: [sip:6003], description: a line that is always busy}
sessions:
  reception:
    use: default
    greeting: "%(greeting)s"
    instructions: You answer the telephone of a laboratory.
    tools: [transfer, hang_up]
routes:
  - name: reception
    match: {to: ["700*", "701*", "49*"]}
    do: [{session: reception}]
  - {name: waiting, match: {to: "7096"}, do: [{play: patience.wav}]}
  - {name: played, match: {to: "7097"}, do: [{play: beep.wav}]}
  - {name: refused, match: {to: "7099"}, do: [{reject: {code: 603, reason: Declined}}]}
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: operator}]}
  - {name: nine, when: {dtmf: "9"}, do: [{transfer: busy}]}
  - {name: down, when: {provider_down: true}, do: [{transfer: operator}]}
"""

CONFIGURATION = """\
sip: %(sip)s
media:
  rtp:
    ports: %(rtp_first)d-%(rtp_last)d
    timeout: %(media_timeout)s
realtime: %(realtime)s
dialplans: [dialplan.yaml]
records: %(records)s
mail: %(mail)s
limits: {max_calls: %(max_calls)d, drain: %(drain)s, cpu: 0, lag: 0}  # the machine may be busy with other tests
log: {level: %(log_level)s, mask_numbers: false}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySetup:
    """What a test decides about its gateway; the rest is CONFIGURATION and DIALPLAN above.

    With a `registrar` it registers there as `account`, on the trunk `pbx`; `trunks` are further ones, as the
    configuration has them. The session's provider is the embedded server, or a test's own at `realtime_url`.
    """

    registrar: tuple[str, int] | None = None
    account: str = "gateway"
    password: str = ""
    expires: str = "60s"
    srtp: str = "optional"
    srtp_over_plain: bool = False
    inbound_auth: dict[str, Any] | None = None
    trunk: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the trunk `pbx`, or other values of them."""
    trunks: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    sip: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the section `sip`."""
    host: str = HOST
    sip_port: int = 0
    """0: one that is free."""
    drain: str = "20s"
    media_timeout: str = "30s"
    max_calls: int = 100
    rtp_ports: int = 400
    """A port rests for 30 s after its call: a test with many calls needs many."""
    realtime_url: str = ""
    realtime: Mapping[str, object] = field(default_factory=dict)
    """Further keys of the realtime session `default`."""
    further_realtime: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Further realtime sessions, as the configuration has them."""
    dialplan: str = DIALPLAN
    records: Mapping[str, object] = field(default_factory=dict)
    mail: Mapping[str, object] = field(default_factory=dict)
    log_level: str = "debug"

    def write(self, folder: Path, sip_port: int) -> Path:
        """Write both files into `folder`; returns the configuration's."""
        rtp_first = 40000 + 2 * (sip_port % 5000)
        realtime: dict[str, object] = {"provider": "embedded"}
        if self.realtime_url:
            realtime = {"provider": "openai", "url": self.realtime_url, "model": "test", "api_key": "test"}
        (folder / "dialplan.yaml").write_text(self.dialplan % {"greeting": GREETING})
        write_wav(folder / "beep.wav", tone(500, 0.2))
        write_wav(folder / "patience.wav", tone(500, 20))
        file = folder / "gateway.yaml"
        file.write_text(
            CONFIGURATION
            % {
                "sip": json.dumps({"listen": f"{self.host}:{sip_port}", "trunks": self._all_trunks(), **self.sip}),
                "drain": self.drain,
                "media_timeout": self.media_timeout,
                "max_calls": self.max_calls,
                "log_level": self.log_level,
                "rtp_first": rtp_first,
                "rtp_last": rtp_first + self.rtp_ports - 1,
                "realtime": json.dumps({"default": realtime | dict(self.realtime), **self.further_realtime}),
                "records": json.dumps(dict(self.records)),
                "mail": json.dumps(dict(self.mail)),
            }
        )
        return file

    def _all_trunks(self) -> dict[str, Mapping[str, object]]:
        if self.registrar is None:
            return dict(self.trunks)
        host, port = self.registrar
        registered = {
            "registrar": f"sip:{host}:{port}",
            "username": self.account,
            "password": self.password or f"lab-{self.account}",
            "expires": self.expires,
            "srtp": self.srtp,
            "srtp_over_plain": self.srtp_over_plain,
            "inbound_auth": self.inbound_auth,
            **self.trunk,
        }
        return {"pbx": registered, **self.trunks}


class GatewayProcess:
    """A running `python -m gateway run`; a context manager that ends what it started.

    `configuration` must make it listen on `sip_port`; `environment` is added to ours. Its standard error goes to
    `folder`. `lines` are its log lines as dictionaries, in order; one that is no JSON is `{"event": "not JSON"}`.
    `within` is put before the command, as `ip netns exec NAME`.
    """

    def __init__(
        self,
        configuration: Path,
        folder: Path,
        sip_port: int,
        environment: Mapping[str, str],
        within: Sequence[str] = (),
    ) -> None:
        self.sip_port = sip_port
        self.configuration = configuration
        self.lines: list[dict[str, Any]] = []
        self._errors = (folder / "stderr").open("w")
        self._errors_file = folder / "stderr"
        self.process = subprocess.Popen(
            [*within, sys.executable, "-m", "gateway", "run", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")} | environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def of(cls, setup: GatewaySetup, folder: Path, within: Sequence[str] = ()) -> Self:
        """A gateway with files of its own in the new `folder`."""
        folder.mkdir(parents=True)
        sip_port = setup.sip_port or free_port()
        return cls(setup.write(folder, sip_port), folder, sip_port, {}, within)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                self.lines.append(json.loads(line))
            except ValueError:
                self.lines.append({"event": "not JSON", "line": line.decode(errors="replace").rstrip()})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End it now: a second SIGTERM does not wait for calls."""
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is None:
                self.process.send_signal(number)
                try:
                    self.process.wait(STOP_DEADLINE_S / 3)
                except subprocess.TimeoutExpired:
                    continue
        self.process.wait()
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def terminate(self) -> None:
        """SIGTERM: drain."""
        self.process.send_signal(signal.SIGTERM)

    def wait_for_exit(self, timeout_s: float = STOP_DEADLINE_S) -> int:
        """Its exit status, 0 for an orderly end."""
        status = self.process.wait(timeout_s)
        self._reader.join()
        return status

    def mark(self) -> int:
        """The number of lines so far, for `wait_for(since=)`."""
        return len(self.lines)

    def found(self, event: str, *, since: int = 0, **fields: object) -> list[dict[str, Any]]:
        """The lines so far with this event and these fields."""
        return [
            line
            for line in self.lines[since:]
            if line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
        ]

    def release_s(self, *, since: int) -> float:
        """How long after a caller's BYE has come the gateway's own BYE or CANCEL to whom it called has left.

        By its own log (level debug), so that only what the gateway itself waits for counts. Raises: StopIteration.
        """
        told = (line for line in self.lines[since:] if re.fullmatch(_BYE_CAME, str(line.get("event"))))
        came = next(told)
        left = (line for line in self.lines[since:] if re.fullmatch(_RELEASE_LEFT, str(line.get("event"))))
        return seconds_between(came, next(line for line in left if line["time"] >= came["time"]))

    def wait_for(self, event: str, *, since: int = 0, timeout_s: float = 10, **fields: object) -> dict[str, Any]:
        """The first line with this event and these fields. Raises: TimeoutError with the last lines and stderr."""

        def line() -> dict[str, Any] | None:
            matching = self.found(event, since=since, **fields)
            if not matching and self.process.poll() is not None:
                raise TimeoutError(f"the gateway ended with status {self.process.returncode}")
            return matching[0] if matching else None

        try:
            return wait_until(line, f"log line {event!r} {fields or ''}", timeout_s) or {}
        except TimeoutError as error:
            last = "\n".join(json.dumps(line) for line in self.lines[-15:])
            raise TimeoutError(f"{error}; stderr:\n{self._errors_file.read_text()[-2000:]}\nlog:\n{last}") from None

    def wait_until_ready(self) -> Mapping[str, Any]:
        return self.wait_for("gateway ready", timeout_s=READY_DEADLINE_S)

    def stop(self) -> Mapping[str, Any]:
        """SIGTERM, and what it tells at its end: how punctual it was, what it still holds."""
        self.terminate()
        assert self.wait_for_exit(60) == 0
        return self.wait_for("gateway stopped")

    def wait_until_registered(self) -> Mapping[str, Any]:
        self.wait_until_ready()
        return self.wait_for("registered")

    def complaints(self) -> list[dict[str, Any]]:
        """Lines that no orderly run writes: errors, tracebacks, and what is not JSON."""
        return [
            line
            for line in self.lines
            if line.get("level") in {"error", "critical"} or line["event"] == "not JSON" or "exception" in line
        ]


def seconds_between(first: Mapping[str, Any], second: Mapping[str, Any]) -> float:
    """How long after the log line `first` the line `second` was written."""
    return (datetime.fromisoformat(second["time"]) - datetime.fromisoformat(first["time"])).total_seconds()
