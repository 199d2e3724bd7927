"""What the interop tests need: a real PBX, telephones at it, and the gateway as its own process.

Whether they run: as root on Debian an Asterisk is installed and started; with `ASTERISK_SIP=host:port` that PBX is
used by `test_any_pbx.py` (it needs the accounts gateway, alice and agent of `tests/interop/asterisk/pjsip.conf`); on
other machines they are skipped with the reason. `REQUIRE_ASTERISK=1` makes every skip a failure, but for those of tests
marked `long`.

Tests marked `long` take minutes; `make test-interop-long` runs them. How much others do is set in the environment, each
with a default for the suite and a figure in the Makefile: `CANCEL_RACES`, `LOSS_CALLS`, `LOST_CALLS`, `LEAK_CALLS`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import pytest

from tests.interop import asterisk_package, phone
from tests.interop.gateway_process import GatewayProcess, GatewaySetup
from tests.interop.pbx import HOME, HOST, Pbx, Ports, remove_abandoned
from tests.interop.speech_server import MODEL_RATE_HZ, SpeechServer, speech_server
from tests.support.listening import Samples, silence, tone, write_wav
from tests.support.required import (
    is_everything_required,
    pytest_make_collect_report,
    pytest_runtest_makereport,
)

__all__ = ["pytest_make_collect_report", "pytest_runtest_makereport"]

AGENT_TONE_HZ = 1004.0
MODEL_TONE_HZ = 440.0
PHONE_SOUND_S = 180
SESSION_DELAY_S = 0.1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)
            if item.get_closest_marker("long") and os.environ.get("INTEROP_LONG") != "1":
                item.add_marker(pytest.mark.skip(reason="takes minutes: make test-interop-long"))


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where REQUIRE_ASTERISK=1 says that everything must be there."""
    if is_everything_required():
        pytest.fail(f"{reason} (and REQUIRE_ASTERISK=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def started_pbx() -> Iterator[Pbx | str]:
    """A PBX of this test run's own on free ports, or why there is none."""
    if reason := "ASTERISK_SIP names one" if os.environ.get("ASTERISK_SIP") else asterisk_package.obstacle():
        yield reason
        return
    try:
        asterisk_package.install(HOME, print)
    except asterisk_package.InstallError as error:
        yield str(error)
        return
    remove_abandoned()
    pbx = Pbx(name=f"test-{os.getpid()}", ports=Ports.free())
    pbx.start()
    try:
        yield pbx
    finally:
        pbx.remove()


@pytest.fixture(scope="module")
def module_pbx(started_pbx: Pbx | str) -> Pbx:
    """A PBX that a whole module's calls use; the calls must have ended before the first test begins."""
    if os.environ.get("ASTERISK_SIP"):
        pytest.skip("looks into the PBX, which the one named by ASTERISK_SIP does not allow")
    if isinstance(started_pbx, str):
        unavailable(started_pbx)
    started_pbx.start()  # unless it runs: a test that failed may have left it killed
    return started_pbx


@pytest.fixture
def pbx(module_pbx: Pbx) -> Iterator[Pbx]:
    """A PBX whose console, log and recordings the test may use; without calls before and after."""
    yield module_pbx
    module_pbx.start()
    module_pbx.trace_sip(False)
    module_pbx.hang_up_all()


@pytest.fixture
def registrar(request: pytest.FixtureRequest) -> tuple[str, int]:
    """The SIP address of a PBX: the given one, else the one started here. For tests that need nothing else of it."""
    if given := os.environ.get("ASTERISK_SIP", ""):
        host, _, port = given.rpartition(":")
        if not host or not port.isdigit():
            pytest.fail(f"ASTERISK_SIP={given!r} is not host:port", pytrace=False)
        return host, int(port)
    pbx: Pbx = request.getfixturevalue("pbx")
    return pbx.address


PhoneMaker = Callable[..., phone.Phone]


@pytest.fixture
def make_phone(registrar: tuple[str, int], tmp_path: Path) -> Iterator[PhoneMaker]:
    """Makes phones registered at the PBX; all are ended after the test. `plays` (8 kHz) is silence unless given."""
    if reason := phone.obstacle():
        unavailable(reason)
    with ExitStack() as phones:

        def make(
            account: str, *, plays: Samples | None = None, answers: bool = False, encryption: str = ""
        ) -> phone.Phone:
            sound = write_wav(tmp_path / f"{account}.wav", silence(PHONE_SOUND_S) if plays is None else plays)
            folder = tmp_path / f"phone-{account}"
            return phones.enter_context(
                phone.Phone(
                    account, registrar=registrar, folder=folder, plays=sound, answers=answers, encryption=encryption
                )
            )

        yield make


@pytest.fixture
def agent_phone(make_phone: PhoneMaker) -> phone.Phone:
    """The human agent: takes calls at once, says a tone of AGENT_TONE_HZ, records what it hears."""
    return make_phone("agent", plays=tone(AGENT_TONE_HZ, PHONE_SOUND_S), answers=True)


Speak = Callable[..., Samples]


@pytest.fixture(scope="session")
def speak() -> Speak:
    """`speak(text, voice=..., sample_rate_hz=8000)`: how a sentence sounds."""
    pytest.importorskip("espeakng_loader", reason="the `local` extra is not installed")
    from gateway.embedded import voice

    return voice.speak


SpeechServerMaker = Callable[..., SpeechServer]


@pytest.fixture
def make_speech_server() -> Iterator[SpeechServerMaker]:
    """Makes realtime servers that hear and say what the test prepared."""
    with ExitStack() as servers:
        yield lambda answers, delay_s=0.0: servers.enter_context(speech_server(answers, delay_s))


GatewayMaker = Callable[..., GatewayProcess]


@pytest.fixture
def make_gateway(registrar: tuple[str, int], tmp_path: Path) -> Iterator[GatewayMaker]:
    """Starts gateways; the arguments are those of `GatewaySetup`. A gateway that complained fails its test."""
    with ExitStack() as gateways:
        started: list[GatewayProcess] = []

        def make(**choices: object) -> GatewayProcess:
            setup = GatewaySetup(**{"registrar": registrar, **choices})  # type: ignore[arg-type]
            gateway = GatewayProcess.of(setup, tmp_path / f"gateway-{len(started)}")
            started.append(gateways.enter_context(gateway))
            return gateway

        yield make
    fail_if_complained(started)


def fail_if_complained(gateways: Sequence[GatewayProcess]) -> None:
    """Errors and tracebacks in a gateway's log fail the test that it served."""
    if complaints := [line for gateway in gateways for line in gateway.complaints()]:
        pytest.fail("the gateway complained:\n" + "\n".join(map(json.dumps, complaints)), pytrace=False)


@pytest.fixture(scope="module")
def static_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One gateway for all tests of a module that takes calls from any port of this machine, without registration.

    It answers after some 120 ms, and the model's greeting is a tone of MODEL_TONE_HZ. At its end it may hold no call
    and no port; a leg whose BYE nobody answers is kept for 32 s.
    """
    with speech_server([tone(MODEL_TONE_HZ, 0.5, rate_hz=MODEL_RATE_HZ)] * 1000, SESSION_DELAY_S) as server:
        setup = GatewaySetup(
            trunks={"peers": {"peer": HOST}},
            realtime_url=server.url,
            media_timeout="5s",
            drain="5s",
            max_calls=1000,
            rtp_ports=4000,
            log_level="info",
        )
        gateway = GatewayProcess.of(setup, tmp_path_factory.mktemp("static") / "gateway")
        with gateway:
            gateway.wait_until_ready()
            yield gateway
            figures = gateway.stop()
    fail_if_complained([gateway])
    assert (figures["calls_left"], figures["rtp_ports_left"]) == (0, 0)


@pytest.fixture
def gateway_process(make_gateway: GatewayMaker) -> GatewayProcess:
    """A gateway with the embedded realtime server, registered as `gateway`: 7000 reaches it."""
    gateway = make_gateway()
    gateway.wait_until_registered()
    return gateway
