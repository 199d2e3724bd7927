"""A real gateway process, a scripted provider and a telephone beside it, without any PBX."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.simulate.phone import Phone, PhoneOptions, free_sip_port
from gateway.sip.message import Address
from tests.interop.gateway_process import GatewayProcess
from tests.support.listening import tone
from tests.support.realtime_server import RealtimeServer, Speech

HOST = "127.0.0.1"

PLAN = """
version: 1
name: rig
timezone: UTC
sessions:
  reception: {use: default, greeting: "Welcome.", instructions: "Be kind.", tools: [hang_up]}
routes:
  - {name: talk, match: {to: "7000"}, do: [{session: reception}]}
"""


@dataclass
class Rig:
    """All parts. `process` is read by a thread of its own, so that its log is always complete."""

    process: GatewayProcess
    provider: RealtimeServer
    phone: Phone
    address: Address

    async def log(self, event: str, timeout_s: float = 10, **fields: object) -> dict[str, Any]:
        """The first log line of that kind."""
        return await asyncio.to_thread(self.process.wait_for, event, timeout_s=timeout_s, **fields)

    @property
    def memory_kib(self) -> int:
        """Resident memory of the gateway."""
        status = Path(f"/proc/{self.process.process.pid}/status").read_text(encoding="ascii")
        return int(status.partition("VmRSS:")[2].split()[0])


@asynccontextmanager
async def gateway_rig(
    folder: Path, *, settings: dict[str, str] | None = None, calls: int = 64, plan: str = PLAN
) -> AsyncIterator[Rig]:
    """A gateway whose only trunk is the telephone; `settings` are further ``GATEWAY__`` variables by path."""
    address = Address(HOST, free_sip_port(HOST))
    speech = [Speech(audio=tone(1000, 1.0, rate_hz=24000).astype("<i2").tobytes(), text="Welcome.")] * calls
    async with RealtimeServer(replies=speech) as provider:
        phone_options = PhoneOptions(peers={"gateway": address}, max_calls=calls, rtp_ports=(42000, 42999))
        async with Phone(phone_options) as phone:
            peer = f"{HOST}:{phone.address.port}"
            process = start_gateway(folder, address, provider.url, peer, settings or {}, plan=plan)
            try:
                await asyncio.to_thread(process.wait_for, "gateway ready", timeout_s=40)
                yield Rig(process=process, provider=provider, phone=phone, address=address)
            finally:
                for call in list(phone.calls.values()):
                    call.hang_up()
                await asyncio.to_thread(process.close)


def start_gateway(
    folder: Path, listen: Address, url: str, peer: str, settings: dict[str, str], *, plan: str = PLAN
) -> GatewayProcess:
    """The process alone; its files are written anew each time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.yaml").write_text(plan)
    file = folder / "gateway.yaml"
    file.write_text(
        json.dumps(
            {
                "sip": {"listen": f"{listen.host}:{listen.port}", "trunks": {"phones": {"peer": peer}}},
                "media": {"rtp": {"ports": "45000-45999"}},
                "realtime": {"default": {"provider": "openai", "url": url, "api_key": "test", "model": "test"}},
                "dialplans": ["plan.yaml"],
            }
        )
    )
    # The machine that runs the suite may be busy with other things: only tests of these limits have them.
    settings = {"limits.lag": "0", "limits.cpu": "0"} | settings
    environment = {f"GATEWAY__{name.upper().replace('.', '__')}": value for name, value in settings.items()}
    return GatewayProcess(file, folder, listen.port, environment)
