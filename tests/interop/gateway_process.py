"""The gateway as operators run it: its own process, a configuration file, JSON lines on standard output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.interop.pbx import HOST, free_port, wait_until

GREETING = "Welcome to the laboratory, how can I help you?"
READY_DEADLINE_S = 40.0  # the embedded server loads its speech models on a busy machine
STOP_DEADLINE_S = 15.0

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
    match: {to: ["7000", "7003", "7004", "7005", "7006", "7007", "7010", "7014", "49*"]}
    do: [{session: reception}]
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: operator}]}
  - {name: nine, when: {dtmf: "9"}, do: [{transfer: busy}]}
  - {name: down, when: {provider_down: true}, do: [{transfer: operator}]}
"""

CONFIGURATION = """\
sip:
  listen: %(host)s:%(sip_port)d
  trunks:
    pbx:
      registrar: sip:%(registrar)s
      username: %(account)s
      password: %(password)s
      expires: %(expires)s
      srtp: %(srtp)s
      srtp_over_plain: %(srtp_over_plain)s
      inbound_auth: %(inbound_auth)s
media:
  rtp:
    ports: %(rtp_first)d-%(rtp_last)d
realtime:
  default: %(realtime)s
dialplans: [dialplan.yaml]
limits: {max_calls: 100, drain: %(drain)s, cpu: 0, lag: 0}  # the machine may be busy with other tests
log: {level: %(log_level)s, mask_numbers: false}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySetup:
    """What a test decides about its gateway; the rest is CONFIGURATION and DIALPLAN above.

    `realtime` is the session's configuration: the embedded server, or the `url` of a test's own.
    """

    registrar: tuple[str, int]
    account: str = "gateway"
    password: str = ""
    expires: str = "60s"
    srtp: str = "optional"
    srtp_over_plain: bool = False
    inbound_auth: dict[str, Any] | None = None
    drain: str = "20s"
    realtime_url: str = ""
    dialplan: str = DIALPLAN
    log_level: str = "debug"

    def write(self, folder: Path, sip_port: int) -> Path:
        """Write both files into `folder`; returns the configuration's."""
        rtp_first = 40000 + 2 * (sip_port % 5000)
        realtime: dict[str, str] = {"provider": "embedded"}
        if self.realtime_url:
            realtime = {"provider": "openai", "url": self.realtime_url, "model": "test", "api_key": "test"}
        (folder / "dialplan.yaml").write_text(self.dialplan % {"greeting": GREETING})
        file = folder / "gateway.yaml"
        file.write_text(
            CONFIGURATION
            % {
                "host": HOST,
                "sip_port": sip_port,
                "registrar": f"{self.registrar[0]}:{self.registrar[1]}",
                "account": self.account,
                "password": self.password or f"lab-{self.account}",
                "expires": self.expires,
                "srtp": self.srtp,
                "srtp_over_plain": str(self.srtp_over_plain).lower(),
                "inbound_auth": json.dumps(self.inbound_auth),
                "drain": self.drain,
                "log_level": self.log_level,
                "rtp_first": rtp_first,
                "rtp_last": rtp_first + 399,
                "realtime": json.dumps(realtime),
            }
        )
        return file


class GatewayProcess:
    """A running `python -m gateway run`; a context manager that ends what it started.

    `configuration` must make it listen on `sip_port`; `environment` is added to ours. Its standard error goes to
    `folder`. `lines` are its log lines as dictionaries, in order; one that is no JSON is `{"event": "not JSON"}`.
    """

    def __init__(self, configuration: Path, folder: Path, sip_port: int, environment: Mapping[str, str]) -> None:
        self.sip_port = sip_port
        self.lines: list[dict[str, Any]] = []
        self._errors = (folder / "stderr").open("w")
        self._errors_file = folder / "stderr"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "-c", str(configuration)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env={name: value for name, value in os.environ.items() if not name.startswith("GATEWAY__")} | environment,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @classmethod
    def of(cls, setup: GatewaySetup, folder: Path) -> Self:
        """A gateway with files of its own in the new `folder`."""
        folder.mkdir(parents=True)
        sip_port = free_port()
        return cls(setup.write(folder, sip_port), folder, sip_port, {})

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

    def wait_until_registered(self) -> Mapping[str, Any]:
        self.wait_for("gateway ready", timeout_s=READY_DEADLINE_S)
        return self.wait_for("registered")

    def complaints(self) -> list[dict[str, Any]]:
        """Lines that no orderly run writes: errors, tracebacks, and what is not JSON."""
        return [
            line
            for line in self.lines
            if line.get("level") in {"error", "critical"} or line["event"] == "not JSON" or "exception" in line
        ]
