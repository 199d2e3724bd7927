"""What the README tells a PBX's administrator works when it is typed in: its configuration blocks, its environment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.interop.gateway_process import GatewayProcess
from tests.interop.pbx import HOST, REPOSITORY, Pbx, Ports, free_port, wait_until


@pytest.fixture
def readme() -> str:
    return (REPOSITORY / "README.md").read_text()


def test_the_readmes_way_to_an_asterisk_leads_to_a_call(pbx: Pbx, readme: str, tmp_path: Path) -> None:
    """`pbx` only says that one can be had here; this one is configured by the README alone."""
    accounts, numbers = re.findall(r"```ini\n(.*?)```", readme, re.DOTALL)[:2]
    (tmp_path / "pjsip.conf").write_text(re.sub(r"(?m)^   ", "", accounts))
    (tmp_path / "extensions.conf").write_text(re.sub(r"(?m)^   ", "", numbers))
    password = re.search(r"TRUNKS__ASTERISK__PASSWORD=(\S+)", readme)
    assert password is not None
    sip_port = free_port()
    reader = Pbx(name=f"{pbx.name}-readme", ports=Ports.free(), gateway_part=tmp_path)
    environment = {
        "GATEWAY__SIP__LISTEN": f"{HOST}:{sip_port}",
        "GATEWAY__SIP__TRUNKS__ASTERISK__REGISTRAR": f"sip:{HOST}:{reader.ports.sip}",
        "GATEWAY__SIP__TRUNKS__ASTERISK__PASSWORD": password[1],
        "GATEWAY__MEDIA__RTP__PORTS": "48000-48399",
    }
    try:
        reader.start()
        with GatewayProcess(REPOSITORY / "config/asterisk.yaml", tmp_path, sip_port, environment) as gateway:
            gateway.wait_until_registered()
            wait_until(lambda: reader.contact_status("gateway") == "Avail", "the gateway answers OPTIONS", 5)
            reader.originate("7000", prompt="vm-intro", delay_s=0, stay_s=0)
            assert gateway.wait_for("call started")["to"].endswith("000")
            ended = gateway.wait_for("call ended")
            assert ended["outcome"] == "caller-hung-up"
            assert ended["rtp_received"] > 100
        assert gateway.complaints() == []
    finally:
        reader.remove()
