"""Configuration: precedence, substitution, and mistakes with their places."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.calls.lines.keys import DtmfMode
from gateway.calls.lines.media_hosts import MediaHost
from gateway.cli.service import load_plans
from gateway.config import Configuration, load_configuration
from gateway.errors import ConfigurationError
from gateway.media.codec import AudioFormat
from gateway.realtime.budget import Budget
from gateway.realtime.openai.dialects import DIALECTS
from gateway.realtime.prices import Price, Rates, SessionPrices, session_prices
from gateway.realtime.recovery.endpoints import Endurance
from gateway.realtime.session import open_session, providers
from gateway.records.recordings import RecordingOptions
from gateway.sip.hop import Hop, Transport
from gateway.sip.message import Address
from gateway.sip.trunk import TrunkOptions
from gateway.transport.locator import Target
from gateway.transport.resolver import ResolverOptions
from gateway.transport.tls import TlsOptions

REPOSITORY = Path(__file__).resolve().parents[1]
GOOD = """\
sip:
  listen: 127.0.0.1:5060
  trunks:
    PBX:
      registrar: sip:127.0.0.1:5070
      username: gateway
      password: ${env:PASSWORD}
dialplans: [plan.yaml]
"""

Load = Callable[..., Configuration]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def from_text(text: str = GOOD, environment: Mapping[str, str] | None = None, **flags: str) -> Configuration:
        file = tmp_path / "gateway.yaml"
        file.write_text(text)
        return load_configuration(file, {"PASSWORD": "s3cret", **(environment or {})}, flags)

    return from_text


def problems(load: Load, text: str, environment: Mapping[str, str] | None = None) -> list[tuple[int, int, str]]:
    with pytest.raises(ConfigurationError) as caught:
        load(text, environment)
    return [(problem.line, problem.column, str(problem)) for problem in caught.value.problems]


def test_file_gives_the_options_of_the_packages(load: Load) -> None:
    configuration = load()
    options = configuration.user_agent_options({"PBX": (Hop("127.0.0.1", 5070), Hop("127.0.0.2", 5070))}, "test/1")
    trunk = options.trunks[0]
    assert [(one.transport, one.address, one.advertise, one.is_open) for one in options.listeners] == [
        (Transport.UDP, ("127.0.0.1", 5060), ("127.0.0.1", 5060), True),
        (Transport.TCP, ("127.0.0.1", 5060), ("127.0.0.1", 5060), True),
    ]
    assert configuration.tls_options() is None
    assert (trunk.name, trunk.username, trunk.password, trunk.contact_user) == ("PBX", "gateway", "s3cret", "gateway")
    assert str(trunk.registrar) == "sip:127.0.0.1:5070"
    assert (trunk.peer, trunk.alternates) == (Hop("127.0.0.1", 5070), (Hop("127.0.0.2", 5070),))


def test_relative_paths_are_taken_from_the_folder_of_the_file(load: Load, tmp_path: Path) -> None:
    assert load().dialplans == (tmp_path / "plan.yaml",)


def test_environment_takes_the_place_of_the_file_and_flags_that_of_the_environment(load: Load) -> None:
    environment = {"GATEWAY__SIP__LISTEN": "127.0.0.2:6000", "GATEWAY__LIMITS__MAX_CALLS": "7"}
    assert load(GOOD, environment).listen == ("127.0.0.2", 6000)
    assert load(GOOD, environment).limits.max_calls == 7
    flagged = load(GOOD, environment, **{"limits.max_calls": "9"})
    assert (flagged.limits.max_calls, flagged.listen) == (9, ("127.0.0.2", 6000))


@pytest.mark.parametrize("name", ["PBX", "pbx", "0"])
def test_environment_names_a_trunk_in_any_case_or_by_its_place(load: Load, name: str) -> None:
    configuration = load(GOOD, {f"GATEWAY__SIP__TRUNKS__{name}__REGISTRAR": "sip:127.0.0.9:5071"})
    assert list(configuration.sip.trunks) == ["PBX"]
    assert configuration.sip.trunks["PBX"].targets == (Target(host="127.0.0.9", port=5071),)


def test_environment_may_add_a_trunk_and_give_a_list(load: Load) -> None:
    environment = {"GATEWAY__SIP__TRUNKS__NEW__PEER": "127.0.0.5", "GATEWAY__SIP__TRUNKS__NEW__CODECS": "[PCMA]"}
    new = load(GOOD, environment).sip.trunks["new"]
    assert (new.targets, new.codecs) == ((Target(host="127.0.0.5"),), ("PCMA",))


@pytest.mark.parametrize("key", ["registrar", "peer"])
def test_trunk_may_have_several_servers_by_name_or_number(load: Load, key: str) -> None:
    servers = ["pbx.example", "pbx.example:5070", "[2001:db8::1]:5080", "[2001:db8::2]"]
    written = [f"sip:{server}" if key == "registrar" else server for server in servers]
    text = f"sip: {{listen: '[::1]:5060', trunks: {{a: {{{key}: {written}, username: x}}}}}}\n"
    trunk = load(text).sip.trunks["a"]
    assert [(target.host, target.port) for target in trunk.targets] == [
        ("pbx.example", None),
        ("pbx.example", 5070),
        ("2001:db8::1", 5080),
        ("2001:db8::2", None),
    ]


def test_name_servers_are_the_machines_unless_given(load: Load) -> None:
    assert load().resolver_options() == ResolverOptions()
    given = load("sip: {dns: {servers: [192.0.2.53, '[2001:db8::53]:5353'], timeout: 500ms}}\n")
    servers = (Address("192.0.2.53", 53), Address("2001:db8::53", 5353))
    assert given.resolver_options() == ResolverOptions(servers=servers, timeout_s=0.5)
    assert "192.0.2.53" in problems(load, "sip: {dns: {servers: [dns.example]}}\n")[0][2]


@pytest.mark.parametrize(("listen", "family"), [("127.0.0.1:5060", socket.AF_INET), ("'[::1]:5060'", socket.AF_INET6)])
def test_families_are_those_of_what_we_listen_on(load: Load, listen: str, family: socket.AddressFamily) -> None:
    assert load(f"sip: {{listen: {listen}}}\n").families == (family,)
    both = (family, socket.AF_INET if family is socket.AF_INET6 else socket.AF_INET6)
    assert load(f"sip: {{listen: [{listen}, '[::1]:5070', 127.0.0.1:5070]}}\n").families == both


def test_secret_from_a_file_loses_its_line_end(load: Load, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from-file\n")
    configuration = load(GOOD.replace("${env:PASSWORD}", f"${{file:{secret}}}"))
    assert configuration.sip.trunks["PBX"].password == "from-file"


def test_password_of_digits_stays_as_it_is_written(load: Load) -> None:
    assert load(GOOD.replace("${env:PASSWORD}", "007")).sip.trunks["PBX"].password == "007"


def test_missing_variable_is_a_problem_at_its_place(load: Load) -> None:
    found = problems(load, GOOD.replace("PASSWORD", "ABSENT"))
    assert [(line, column) for line, column, _ in found] == [(7, 17)]
    assert "ABSENT is not set" in found[0][2]


def test_every_problem_is_told_with_its_place_and_the_nearest_word(load: Load) -> None:
    text = GOOD.replace("registrar", "registar").replace("dialplans", "dailplans").replace("5060", "99999")
    found = problems(load, text)
    assert [line for line, _, _ in found] == sorted(line for line, _, _ in found)
    told = "\n".join(text for _, _, text in found)
    assert "gateway.yaml:2:11: " in told
    assert "unknown key 'registar' (did you mean 'registrar'?)" in told
    assert "unknown key 'dailplans' (did you mean 'dialplans'?)" in told


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ("media: {rtp: {ports: 40000}}", "FIRST-LAST"),
        ("media: {rtp: {ports: 50000-40000}}", "FIRST-LAST"),
        ("media: {rtp: {listen: eth0}}", "IP address"),
        ("media: {append: 30ms}", "60ms"),
        ("realtime: {default: {provider: azure}}", "wss://"),
        ("realtime: {default: {provider: xai, url: 'ftp://x'}}", "wss://"),
        ("realtime: {default: {provider: eleven, audio: g711}}", "audio: pcm16"),
        ("realtime: {default: {provider: eleven, turn_detection: {kind: server_vad}}}", "kind: semantic_vad"),
        ("realtime: {default: {provider: xai, turn_detection: {kind: semantic_vad}}}", "kind: server_vad"),
        ("realtime: {default: {provider: qwen, noise_reduction: near_field}}", "no noise_reduction"),
        ("realtime: {default: {provider: opnai}}", "openai"),
        ("realtime: {default: {provider: gemini, model: m, mcp: [{label: a, url: 'https://h/'}]}}", "no mcp"),
        ("realtime: {default: {provider: gemini, model: m, truncation: 80%}}", "no truncation"),
        (
            "realtime: {default: {provider: gemini, model: m, turn_detection: {idle_timeout_ms: 8000}}}",
            "no turn_detection.idle_timeout_ms",
        ),
        ("realtime: {default: {provider: openai_live, model: m, mcp: [{label: a, url: 'https://h/'}]}}", "no mcp"),
        (
            "realtime: {default: {provider: openai_live, model: m, turn_detection: {interrupt: false}}}",
            "no turn_detection.interrupt",
        ),
        ("realtime: {default: {provider: xai, identify_callers: true}}", "no identify_callers"),
        ("realtime: {default: {provider: openai, backend_model: m}}", "no backend_model"),
        ("realtime: {default: {provider: openai, keywords: [Xylocain]}}", "with transcription: MODEL only"),
        (
            "realtime: {default: {provider: eleven, turn_detection: {idle_timeout_ms: 8000}}}",
            "server_vad only (here it is semantic_vad)",
        ),
        ("realtime: {default: {provider: openai, url: 'wss://x/v1', brain: b.yaml}}", "embedded"),
        ("realtime: {default: {turn_detection: {threshold: 2}}}", "less than or equal to 1"),
        ("limits: {max_calls: 0}", "greater than or equal to 1"),
        ("limits: {drain: soon}", "20s"),
        ("limits: {cpu: much}", "85%"),
        ("limits: {lag: 20}", "expected a time such as 20ms"),
        ("limits: {lag: 0.02}", "expected a time such as 20ms"),
        ("limits: {cpu: 101%}", "less than or equal to 100"),
        ("limits: {ban_after: 0}", "greater than or equal to 1"),
        ("log: {level: loud}", "debug"),
        ("log: {mask_numbers: maybe}", "true or false"),
    ],
)
def test_wrong_value_names_what_would_fit(load: Load, section: str, expected: str) -> None:
    found = problems(load, GOOD + section)
    assert len(found) == 1
    assert found[0][0] == 9
    assert expected in found[0][2]


@pytest.mark.parametrize(
    ("trunk", "expected"),
    [
        ("{}", "a registrar or a peer"),
        ("{registrar: 'sip:127.0.0.1', peer: 127.0.0.1, username: a}", "a registrar or a peer"),
        ("{registrar: 'sip:127.0.0.1'}", "without a user name"),
        ("{registrar: 'http://127.0.0.1', username: a}", "expected a SIP URI"),
        ("{registrar: [], username: a}", "at least 1"),
        ("{registrar: ['sip:127.0.0.1', 'tel:1'], username: a}", "expected a SIP URI"),
        ("{peer: 'pbx:99999'}", "HOST:PORT"),
        ("{peer: ['pbx', 'not a host']}", "HOST:PORT"),
        ("{peer: '::1:99999'}", "[2001:db8::1]:5060"),
        ("{peer: 0.0.0.0}", "expected the address of one server"),
        ("{peer: '[::]:5060'}", "expected the address of one server"),
        ("{peer: '::'}", "expected the address of one server"),
        ("{peer: [pbx, 224.0.1.75]}", "expected the address of one server"),
        ("{registrar: 'sip:255.255.255.255:5060', username: a}", "expected the address of one server"),
        ("{registrar: 'sip:[ff02::1]', username: a}", "expected the address of one server"),
        ("{peer: 127.0.0.1, codecs: []}", "no codecs"),
        ("{peer: 127.0.0.1, codecs: [OPUS]}", "G722, PCMA"),
        ("{peer: 127.0.0.1, codecs: [PCMA, PCMU, PCMA]}", "names PCMA twice"),
        ("{peer: 127.0.0.1, acl: [nowhere]}", "192.0.2.0/24"),
        ("{peer: 127.0.0.1, srtp: always}", "expected one of off, optional, required"),
        ("{peer: 127.0.0.1, srtp: required}", "srtp_over_plain: true"),
        ("{peer: 127.0.0.1, dtmf: tones}", "expected one of auto, inband, info, rfc4733"),
        ("{peer: 127.0.0.1, dtmf: rfc2833}", "did you mean 'rfc4733'?"),
    ],
)
def test_trunk_that_cannot_work_is_refused(load: Load, trunk: str, expected: str) -> None:
    found = problems(load, f"sip:\n  trunks:\n    a: {trunk}\n")
    assert expected in found[0][2]
    assert found[0][0] == 3


@pytest.mark.parametrize(
    ("trunk", "over_udp", "over_tls"),
    [
        ("peer: 127.0.0.1", "plain", "keys"),
        ("peer: 127.0.0.1, srtp: off", "plain", "plain"),
        ("peer: 127.0.0.1, srtp: optional, srtp_over_plain: true", "keys", "keys"),
        ("peer: 127.0.0.1, srtp: required, srtp_over_plain: true", "keys", "keys"),
    ],
)
def test_srtp_keys_are_told_where_policy_and_transport_allow(
    load: Load, trunk: str, over_udp: str, over_tls: str
) -> None:
    policies = load(f"sip:\n  trunks:\n    a: {{{trunk}}}\n").trunk_policies({"a": (Hop("127.0.0.1", 5060),)})
    found = [
        "keys" if policies["a"].srtp_terms(Hop("127.0.0.1", 5060, transport)).fresh_keys else "plain"
        for transport in (Transport.UDP, Transport.TCP, Transport.TLS)
    ]
    assert found == [over_udp, over_udp, over_tls]


@pytest.mark.parametrize(
    ("trunk", "mode"),
    [
        ("peer: 127.0.0.1", DtmfMode.AUTO),
        ("peer: 127.0.0.1, dtmf: rfc4733", DtmfMode.RFC4733),
        ("peer: 127.0.0.1, dtmf: inband", DtmfMode.INBAND),
        ("peer: 127.0.0.1, dtmf: info", DtmfMode.INFO),
    ],
)
def test_trunk_says_how_keys_are_sent(load: Load, trunk: str, mode: DtmfMode) -> None:
    policies = load(f"sip:\n  trunks:\n    a: {{{trunk}}}\n").trunk_policies({"a": (Hop("127.0.0.1", 5060),)})
    assert policies["a"].dtmf is mode


@pytest.mark.parametrize(
    "trunk",
    [
        "peer: 127.0.0.1, transport: tls",
        "registrar: 'sips:127.0.0.1', username: a",
        "peer: 127.0.0.1, srtp_over_plain: true",
    ],
)
def test_srtp_may_be_required_where_its_keys_may_be_told(load: Load, trunk: str) -> None:
    configuration = load(f"sip:\n  tls: {{}}\n  trunks:\n    a: {{{trunk}, srtp: required}}\n")
    assert configuration.sip.trunks["a"].srtp == "required"


def test_listening_everywhere_needs_an_address_to_tell(load: Load) -> None:
    assert "advertise" in problems(load, "sip: {listen: '0.0.0.0:5060'}\n")[0][2]
    configuration = load("sip: {listen: '0.0.0.0:5060', advertise: 192.0.2.5}\n")
    assert [host.advertise for host in configuration.media_hosts.hosts] == ["192.0.2.5"]
    assert {one.advertise for one in configuration.listeners()} == {("192.0.2.5", 5060)}
    told = problems(load, "sip: {listen: ['0.0.0.0:5060', '[::]:5060'], advertise: 192.0.2.5}\n")[0][2]
    assert "expected advertise: IPv6 address" in told


IPV4_ONLY = "is an IPv6 address, 'listen' has only IPv4 (expected an IPv6 address in sip.listen)"
IPV6_ONLY = "is an IPv4 address, 'listen' has only IPv6 (expected an IPv4 address in sip.listen)"


@pytest.mark.parametrize(
    ("listen", "trunk", "column", "expected"),
    [
        ("[::1]:5060", "registrar: 'sip:192.0.2.1', username: x", 20, f"'registrar' {IPV6_ONLY}"),
        ("127.0.0.1:5060", "peer: '[2001:db8::1]:5070'", 15, f"'peer' {IPV4_ONLY}"),
        ("127.0.0.1:5060", "peer: [pbx.example, '2001:db8::1']", 29, f"item 2 of 'peer' {IPV4_ONLY}"),
        ("127.0.0.1:5060", "peer: '::1', transport: tls", 15, f"'peer' {IPV4_ONLY}"),
    ],
)
def test_numeric_server_needs_a_listener_of_its_family(
    load: Load, listen: str, trunk: str, column: int, expected: str
) -> None:
    text = "sip:\n  listen: '%s'\n  trunks:\n    a: {%s}\n"
    found = problems(load, text % (listen, trunk))
    assert [(line, at) for line, at, _ in found] == [(4, column)]
    assert found[0][2].endswith(expected)
    assert load(text.replace("'%s'", "['127.0.0.1:5060', '[::1]:5060']") % trunk).sip.trunks["a"].targets


def test_numeric_server_on_tls_needs_its_family_where_tls_is_listened_for(load: Load) -> None:
    tls = "tls: {listen: '[::1]:5061', certificate: a.pem}"
    found = problems(load, f"sip: {{{tls}, trunks: {{a: {{peer: 127.0.0.1, transport: tls}}}}}}\n")
    assert "'tls.listen' has only IPv6 (expected an IPv4 address in sip.tls.listen)" in found[0][2]


@pytest.mark.parametrize("listen", ["::1:5064", "[::1:5064", "::1]:5064", "[::1]", "127.0.0.1:1:5064"])
def test_listen_that_is_no_endpoint_is_told_how_one_is_written(load: Load, listen: str) -> None:
    (found,) = problems(load, GOOD, {"GATEWAY__SIP__LISTEN": listen})
    assert found[2] == (
        f"GATEWAY__SIP__LISTEN:1:1: 'listen' is {listen!r} (expected IP:PORT, as 127.0.0.1:5060 or [::1]:5060)"
    )


@pytest.mark.parametrize("port", ["", "0", "65536", "²"])
def test_listen_needs_a_port(load: Load, port: str) -> None:
    (found,) = problems(load, GOOD, {"GATEWAY__SIP__LISTEN": f"[::1]:{port}"})
    assert "expected a port of 1 to 65535" in found[2]


@pytest.mark.parametrize("peer", ["::1", "[::1]"])
def test_peer_may_be_an_ipv6_address_with_or_without_brackets(load: Load, peer: str) -> None:
    configuration = load("sip: {listen: '[::1]:5060'}\n", {"GATEWAY__SIP__TRUNKS__A__PEER": peer})
    assert configuration.sip.trunks["a"].targets == (Target(host="::1"),)


@pytest.mark.parametrize("listen", ["[::1]:5060", "[127.0.0.1:5060, [::1]:5060]", "[2001:db8::1]:5060"])
def test_ipv6_without_quotes_is_told_to_need_them(load: Load, listen: str) -> None:
    (found,) = problems(load, f"sip:\n  listen: {listen}\n")
    assert 'put quotes around an IPv6 address, as "[::1]:5060"' in found[2]


def test_lateness_may_be_switched_off_by_a_bare_zero(load: Load) -> None:
    assert load("limits: {lag: 0}\n").load_limits().lag_ms == 0


def test_several_addresses_of_both_families_are_listened_on(load: Load) -> None:
    text = "sip: {listen: ['192.0.2.1:5060', '[::]:5070'], advertise: [192.0.2.5, '2001:db8::5'], tls: {%s}}\n"
    configuration = load(text % "listen: '[::]:5061', certificate: a.pem")
    assert [(str(one.transport.value), one.address, one.advertise) for one in configuration.listeners()] == [
        ("UDP", ("192.0.2.1", 5060), ("192.0.2.5", 5060)),
        ("UDP", ("::", 5070), ("2001:db8::5", 5070)),
        ("TCP", ("192.0.2.1", 5060), ("192.0.2.5", 5060)),
        ("TCP", ("::", 5070), ("2001:db8::5", 5070)),
        ("TLS", ("::", 5061), ("2001:db8::5", 5061)),
    ]
    assert configuration.listen == ("192.0.2.1", 5060)
    assert ("2001:db8::5", 5061) in configuration.rtp_port_options().own_sip_addresses


BOTH = "['192.0.2.1:5060', '192.0.2.2:5060', '[2001:db8::1]:5060']"


@pytest.mark.parametrize(
    ("sip", "rtp", "over_ipv4", "over_ipv6"),
    [
        ("192.0.2.1:5060", "null", ("192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1")),
        ("192.0.2.1:5060", "192.0.2.9", ("192.0.2.9", "192.0.2.9"), ("192.0.2.9", "192.0.2.9")),
        ("192.0.2.1:5060", "'2001:db8::9'", ("2001:db8::9", "2001:db8::9"), ("2001:db8::9", "2001:db8::9")),
        ("192.0.2.1:5060, advertise: 192.0.2.7", "null", ("192.0.2.1", "192.0.2.7"), ("192.0.2.1", "192.0.2.7")),
        (BOTH, "null", ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")),
        (BOTH, "192.0.2.9", ("192.0.2.9", "192.0.2.9"), ("2001:db8::1", "2001:db8::1")),
        (BOTH, "'2001:db8::9'", ("192.0.2.1", "192.0.2.1"), ("2001:db8::9", "2001:db8::9")),
        (BOTH, "['2001:db8::9', 192.0.2.9]", ("192.0.2.9", "192.0.2.9"), ("2001:db8::9", "2001:db8::9")),
        (f"{BOTH}, advertise: '2001:db8::7'", "null", ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::7")),
        (f"{BOTH}, advertise: 192.0.2.7", "192.0.2.9", ("192.0.2.9", "192.0.2.7"), ("2001:db8::1", "2001:db8::1")),
        (
            "192.0.2.1:5060, tls: {listen: '[2001:db8::2]:5061', certificate: a.pem}",
            "null",
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8::2", "2001:db8::2"),
        ),
    ],
)
def test_audio_is_of_the_family_that_signalling_goes_by(
    load: Load, sip: str, rtp: str, over_ipv4: tuple[str, str], over_ipv6: tuple[str, str]
) -> None:
    hosts = load(f"sip: {{listen: {sip}}}\nmedia: {{rtp: {{listen: {rtp}}}}}\n").media_hosts
    assert hosts.towards(Hop("198.51.100.1", 5060)) == MediaHost(*over_ipv4)
    assert hosts.towards(Hop("2001:db8:1::1", 5060)) == MediaHost(*over_ipv6)


def test_audio_has_one_address_of_a_family(load: Load) -> None:
    told = problems(load, "media: {rtp: {listen: [192.0.2.1, 192.0.2.2]}}\n")[0][2]
    assert "expected one IPv4, one IPv6 or both" in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.2:6000", [("127.0.0.2", 6000)]),
        ("[::1]:6000", [("::1", 6000)]),
        ("[127.0.0.2:6000, '[::1]:6000']", [("127.0.0.2", 6000), ("::1", 6000)]),
    ],
)
def test_environment_gives_one_address_or_a_list(load: Load, text: str, expected: list[Address]) -> None:
    configuration = load(GOOD.replace("sip:127.0.0.1:5070", "sip:pbx.example"), {"GATEWAY__SIP__LISTEN": text})
    assert [one.address for one in configuration.listeners() if one.transport is Transport.UDP] == expected


@pytest.mark.parametrize(
    ("sip", "expected"),
    [
        ("listen: []", "at least 1"),
        ("listen: [127.0.0.1:5060, nowhere]", "item 2 of 'listen'"),
        ("listen: nowhere", "expected IP:PORT"),
        ("listen: [127.0.0.1:5060, 127.0.0.1:5060]", "listens twice on one address"),
        ("advertise: [192.0.2.5, 192.0.2.6]", "two addresses of one family"),
        ("tls: {listen: 127.0.0.1:5061}", "listens without a certificate"),
        ("tls: {listen: 127.0.0.1:5060, certificate: a.pem}", "TLS on another port"),
        ("tls: {key: a.pem}", "has a key without a certificate"),
        ("tls: {verify_client: true}", "verifies clients against nobody"),
        ("tls: {minimum_version: 1.1}", "expected 1.2 or 1.3"),
        ("trunks: {a: {peer: 127.0.0.1, transport: sctp}}", "udp"),
        ("trunks: {a: {peer: 127.0.0.1, transport: tls, tls_name: 'a b'}}", "in the server's certificate"),
        ("trunks: {a: {registrar: 'sips:pbx', username: a, transport: udp}}", "its registrar asks for tls"),
        (
            "trunks: {a: {registrar: 'sip:pbx;transport=tcp', username: a, transport: tls}}",
            "its registrar asks for tcp",
        ),
        ("trunks: {a: {registrar: ['sips:a', 'sip:b'], username: a}}", "on TLS and in plain text"),
        ("trunks: {a: {registrar: 'sip:pbx;transport=sctp', username: a}}", "expected ;transport=udp, tcp or tls"),
        ("trunks: {a: {registrar: 'sips:pbx;transport=udp', username: a}}", "no udp with sips"),
    ],
)
def test_transport_that_cannot_work_is_refused(load: Load, sip: str, expected: str) -> None:
    found = problems(load, f"sip:\n  {sip}\n")
    assert expected in found[0][2]
    assert found[0][0] in (1, 2)


@pytest.mark.parametrize(
    ("trunk", "targets", "server_names"),
    [
        ("registrar: 'sip:pbx', username: a", [("pbx", None, Transport.UDP)], ("pbx",)),
        ("registrar: 'sip:pbx', username: a, transport: tcp", [("pbx", None, Transport.TCP)], ("pbx",)),
        ("registrar: 'sip:pbx;transport=tcp', username: a", [("pbx", None, Transport.TCP)], ("pbx",)),
        ("registrar: 'sip:pbx;transport=tls', username: a", [("pbx", None, Transport.TLS)], ("pbx",)),
        (
            "registrar: ['sips:pbx:5071', 'sip:two;transport=TLS'], username: a",
            [("pbx", 5071, Transport.TLS), ("two", None, Transport.TLS)],
            ("pbx", "two"),
        ),
        (
            "registrar: 'sips:192.0.2.1', username: a, tls_name: sip.example",
            [("192.0.2.1", None, Transport.TLS)],
            ("sip.example",),
        ),
        ("peer: 192.0.2.1, transport: tls", [("192.0.2.1", None, Transport.TLS)], ("192.0.2.1",)),
        ("peer: '[::1]:6000', transport: tcp", [("::1", 6000, Transport.TCP)], ("::1",)),
    ],
)
def test_a_trunk_says_how_it_is_spoken_with(
    load: Load, trunk: str, targets: list[tuple[str, int | None, Transport]], server_names: tuple[str, ...]
) -> None:
    listen = "['127.0.0.1:5060', '[::1]:5060']"
    section = load(f"sip: {{listen: {listen}, trunks: {{a: {{{trunk}}}}}}}\n").sip.trunks["a"]
    assert [(target.host, target.port, *target.transports) for target in section.targets] == targets
    assert section.server_names == server_names
    assert section.is_secure is (targets[0][2] is Transport.TLS)


def test_a_trunk_on_tls_needs_no_listener_of_ours(load: Load, tmp_path: Path) -> None:
    configuration = load("sip: {tls: {ca: ca.pem}, trunks: {a: {peer: 127.0.0.1, transport: tls}}}\n")
    (secure,) = [one for one in configuration.listeners() if one.transport is Transport.TLS]
    assert (secure.address, secure.is_open) == (("127.0.0.1", 5061), False)
    options = configuration.tls_options()
    assert options is not None
    assert (options.ca, options.certificate) == (tmp_path / "ca.pem", None)


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("provider: openai, brain: x.yaml", "1:47: 'brain' has no effect (expected it with provider embedded only)"),
        (
            "provider: openai, noise_reduction_strength: 0.5",
            "1:66: 'noise_reduction_strength' has no effect (expected it with noise_reduction only)",
        ),
        (
            "provider: openai, keywords: [x]",
            "1:50: 'keywords' has no effect (expected it with transcription: MODEL only)",
        ),
        (
            "turn_detection: {kind: semantic_vad, idle_timeout_ms: 5000}",
            "1:76: 'idle_timeout_ms' has no effect (expected it with kind server_vad only)",
        ),
        (
            "provider: openai_live, model: x, noise_reduction: near_field",
            "1:72: 'noise_reduction' is nothing that openai_live has (expected no noise_reduction)",
        ),
    ],
)
def test_a_key_that_does_not_go_with_the_others_is_shown_itself(load: Load, keys: str, found: str) -> None:
    ((_, _, told),) = problems(load, f"realtime: {{default: {{{keys}}}}}")
    assert told.endswith(f"gateway.yaml:{found}")


def test_variable_with_one_underscore_is_not_passed_over(load: Load) -> None:
    found = problems(load, GOOD, {"GATEWAY_SIP__LISTEN": "127.0.0.1:6000", "GATEWAY_HOME": "/srv"})
    assert [text for _, _, text in found] == [
        "GATEWAY_SIP__LISTEN: has one underscore behind GATEWAY (did you mean GATEWAY__SIP__LISTEN?)"
    ]


def test_variables_that_look_like_keys_and_are_none_are_told_with_the_key(load: Load) -> None:
    environment = {
        "GATEWAY_SIP_LISTEN": "127.0.0.1:6000",
        "GATEWAY_REALTIME_DEFAULT_URL": "x",
        "GATEWAY_SIP_TRUNKS_PBX_PASSWORD": "x",
        "GATEWAY_LIMITS_MAX_CALLS": "7",
        "GATEWAY__LIMITS__CALLS_PER_S": "7",
        "GATEWAY_HOME": "/srv",
        "GATEWAY_EMBEDDED_API_KEY": "x",
        "SIP_LISTEN": "x",
    }
    assert [str(problem) for problem in load(GOOD, environment).overlooked] == [
        "GATEWAY_LIMITS_MAX_CALLS: is not heeded (did you mean GATEWAY__LIMITS__MAX_CALLS?)",
        "GATEWAY_REALTIME_DEFAULT_URL: is not heeded (did you mean GATEWAY__REALTIME__DEFAULT__URL?)",
        "GATEWAY_SIP_LISTEN: is not heeded (did you mean GATEWAY__SIP__LISTEN?)",
        "GATEWAY_SIP_TRUNKS_PBX_PASSWORD: is not heeded (did you mean GATEWAY__SIP__TRUNKS__PBX__PASSWORD?)",
    ]


def test_a_variable_that_the_file_names_is_no_misspelt_key(load: Load) -> None:
    text = GOOD.replace("env:PASSWORD", "env:GATEWAY_SIP_LISTEN")
    assert load(text, {"GATEWAY_SIP_LISTEN": "s3cret"}).overlooked == ()


def test_problem_in_the_environment_names_the_variable(load: Load) -> None:
    found = problems(load, GOOD, {"GATEWAY__LOG__LEVEL": "loud"})
    assert found[0][2].startswith("GATEWAY__LOG__LEVEL")


def test_secret_is_never_shown(load: Load) -> None:
    configuration = load()
    assert "s3cret" not in repr(configuration)
    found = problems(load, GOOD.replace("username: gateway", "username: ''"))
    assert all("s3cret" not in text for _, _, text in found)
    found = problems(load, GOOD.replace("listen: 127.0.0.1:5060", "listen: ${env:PASSWORD}"))
    assert all("s3cret" not in text for _, _, text in found)


def test_embedded_session_speaks_the_protocol_of_openai_at_the_address_it_was_started_at(load: Load) -> None:
    configuration = load(GOOD + "realtime: {default: {audio: g711}}\n")
    options = configuration.session_options({"default": "ws://127.0.0.1:1/v1/realtime"})["default"]
    assert (options.provider, options.url) == ("embedded", "ws://127.0.0.1:1/v1/realtime")
    assert (options.input_format, options.output_format) == (AudioFormat.PCMU, AudioFormat.PCMU)


@pytest.mark.parametrize("name", ["opnai", "xAI", ""])
def test_wrong_provider_is_told_with_all_that_exist(load: Load, name: str) -> None:
    (problem,) = problems(load, f"realtime:\n  default:\n    provider: {name!r}\n")
    assert problem[:2] == (3, 15)
    assert f"expected one of {', '.join(sorted(providers()))}" in problem[2]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_provider_with_one_address_needs_no_url(load: Load, name: str) -> None:
    dialect = DIALECTS[name]
    text = (
        GOOD + f"realtime: {{default: {{provider: {name}, url: '{'' if dialect.url else 'wss://own.example/v1'}'}}}}\n"
    )
    options = load(text).session_options({})["default"]
    assert options.provider == name
    assert options.url == (dialect.url or "wss://own.example/v1")
    assert open_session(options).capabilities == dialect.capabilities


@pytest.mark.parametrize(
    ("name", "heard", "spoken", "turns"),
    [
        ("openai", AudioFormat.PCM16_24K, AudioFormat.PCM16_24K, "server_vad"),
        ("xai", AudioFormat.PCM16_24K, AudioFormat.PCM16_24K, "server_vad"),
        ("qwen", AudioFormat.PCM16_16K, AudioFormat.PCM16_24K, "server_vad"),
        ("eleven", AudioFormat.PCM16_24K, AudioFormat.PCM16_24K, "semantic_vad"),
        ("inworld", AudioFormat.PCM16_24K, AudioFormat.PCM16_24K, "semantic_vad"),
    ],
)
def test_what_nobody_chose_is_the_providers_own(
    load: Load, name: str, heard: AudioFormat, spoken: AudioFormat, turns: str
) -> None:
    options = load(GOOD + f"realtime: {{default: {{provider: {name}}}}}\n").session_options({})["default"]
    assert (options.input_format, options.output_format) == (heard, spoken)
    assert options.turn_detection.kind == turns


def test_g711_is_mu_law_until_a_call_brings_its_own(load: Load) -> None:
    text = GOOD + "realtime: {default: {provider: azure, url: 'https://r.example', audio: g711}}\n"
    options = load(text).session_options({})["default"]
    assert (options.input_format, options.output_format) == (AudioFormat.PCMU, AudioFormat.PCMU)


@pytest.mark.parametrize("law", ["pcmu", "PCMA", "g711_ulaw", "g711_alaw"])
def test_audio_of_one_law_is_refused_with_the_name_of_both(load: Load, law: str) -> None:
    found = problems(load, f"realtime:\n  default:\n    audio: {law}\n")
    assert [(line, column) for line, column, _ in found] == [(3, 12)]
    assert f"'audio' is '{law}' (expected g711" in found[0][2]


@pytest.mark.parametrize("name", ["gateway.yaml", "asterisk.yaml", "openai.yaml", "openai-live.yaml"])
def test_shipped_configuration_is_good(name: str) -> None:
    configuration = load_configuration(REPOSITORY / "config" / name, {"OPENAI_API_KEY": "k"})
    assert configuration.dialplans[0].resolve() == REPOSITORY / "dialplans" / "reception.yaml"


def test_shipped_gateway_yaml_holds_every_key_with_its_default() -> None:
    shipped = load_configuration(REPOSITORY / "config" / "gateway.yaml", {})
    text = (REPOSITORY / "config" / "gateway.yaml").read_text()
    bare = Configuration()
    for section in ("media", "records", "limits", "log"):
        assert getattr(shipped, section) == getattr(bare, section)
    assert shipped.realtime == bare.realtime
    assert shipped.sip.model_copy(update={"trunks": {}}) == bare.sip
    for key in _keys(Configuration.model_json_schema()):
        assert f"{key}:" in text, key


def _keys(schema: dict[str, object]) -> set[str]:
    found: set[str] = set()
    for definition in [schema, *schema.get("$defs", {}).values()]:  # type: ignore[attr-defined]
        found |= set(definition.get("properties", {}))
    return found


RECOVERY = """
realtime:
  first:
    provider: openai
    url: wss://one.example/v1
    audio: g711
    fallbacks: [second]
    max_sessions: 80
    recovery: {attempts: 3, window: 10s, keep_audio: 2s, roll_over_before: 2m, prompt_after: 4s, reply_retries: 1}
  second: {provider: openai, url: "wss://two.example/v1", audio: g711}
"""


def test_recovery_and_fallbacks_reach_the_sessions(load: Load) -> None:
    endurances = load(GOOD + RECOVERY).endurances()
    first = endurances["first"]
    assert (first.fallbacks, first.max_sessions) == (("second",), 80)
    assert (first.recovery.attempts, first.recovery.window_s, first.recovery.keep_audio_s) == (3, 10, 2)
    assert (first.recovery.roll_over_before_s, first.recovery.prompt_after_s, first.recovery.reply_retries) == (
        120,
        4,
        1,
    )
    assert endurances["second"] == Endurance()


def test_a_fallback_need_not_be_set_to_the_audio_that_it_can_take(load: Load) -> None:
    assert load(GOOD + RECOVERY.replace('two.example/v1", audio: g711', 'two.example/v1"')).endurances()


@pytest.mark.parametrize(
    ("wrong", "right", "place", "told"),
    [
        ("[second]", "[secnd]", (15, 17), "item 1 of 'fallbacks' does not fit first: secnd (did you mean 'second'?)"),
        (
            "[second]",
            "[second, first]",
            (15, 25),
            "item 2 of 'fallbacks' does not fit first: first (expected",
        ),
        (
            'openai, url: "wss://two.example/v1", audio: g711',
            "gemini, model: m",
            (15, 17),
            "(expected a provider that is given pcmu and gives pcmu, as a call keeps its formats)",
        ),
        ("4s", "50s", (17, 15), "'recovery' has its silences out of order (expected prompt_after below"),
    ],
)
def test_a_fallback_that_cannot_take_over_is_told_with_its_place(
    load: Load, wrong: str, right: str, place: tuple[int, int], told: str
) -> None:
    ((line, column, text),) = problems(load, GOOD + RECOVERY.replace(wrong, right))
    assert told in text
    assert (line, column) == place


def test_limits_reach_those_who_keep_them(load: Load) -> None:
    limits = "limits: {cpu: 70%, lag: 50ms, descriptors: 80, calls_per_s: 5, call_burst: 6, messages_per_s: 7, "
    configuration = load(GOOD + limits + "message_burst: 8, ban_after: 3, ban: 1m}")
    load_limits = configuration.load_limits()
    assert (load_limits.cpu_percent, load_limits.lag_ms, load_limits.descriptors_percent) == (70, 50, 80)
    options = configuration.user_agent_options({"PBX": (Hop("127.0.0.1", 5070),)}, "test/1")
    assert (options.calls_per_s, options.call_burst, options.messages_per_s, options.message_burst) == (5, 6, 7, 8)
    assert (options.guard.ban_after, options.guard.ban_s) == (3, 60)


def test_a_trunk_may_ask_for_credentials_and_they_are_not_shown(load: Load) -> None:
    text = "sip: {trunks: {PBX: {peer: 127.0.0.1, inbound_auth: {username: office, password: '${env:PASSWORD}'}}}}"
    configuration = load(text)
    (trunk,) = configuration.user_agent_options({"PBX": (Hop("127.0.0.1", 5070),)}, "test/1").trunks
    assert trunk.inbound_auth is not None
    assert (trunk.inbound_auth.username, trunk.inbound_auth.password) == ("office", "s3cret")
    assert "s3cret" not in repr(configuration)
    assert configuration.trusted_media_networks({"PBX": (Hop("127.0.0.1", 5070),)}) == ()


def test_a_trace_is_limited_to_the_hosts_of_its_trunks(load: Load) -> None:
    configuration = load(GOOD + "log: {sip_trace_only: [PBX, 192.0.2.0/24]}")
    assert load().traced_networks({"PBX": ()}) is None
    assert configuration.traced_networks({"PBX": (Hop("127.0.0.1", 5070),)}) == ("127.0.0.1", "192.0.2.0/24")


def test_a_trace_of_nobody_is_a_mistake(load: Load) -> None:
    ((_, _, told),) = problems(load, GOOD + "log: {sip_trace_only: [PBY]}")
    assert "PBY" in told
    assert "a trunk's name" in told


@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "192.0.0.0/7", "2000::/3"])
def test_an_open_acl_needs_credentials(load: Load, network: str) -> None:
    trunk = f"sip: {{trunks: {{PBX: {{peer: 127.0.0.1, acl: ['{network}']%s}}}}}}"
    ((_, _, told),) = problems(load, trunk % "")
    assert "inbound_auth" in told
    assert load(trunk % ", inbound_auth: {username: a, password: b}").sip.trunks["PBX"].acl == (network,)


@pytest.mark.parametrize("network", ["10.0.0.0/8", "fc00::/7", "198.51.100.0/24", "2001:db8::/32"])
def test_the_acl_of_a_private_network_or_a_carrier_needs_none(load: Load, network: str) -> None:
    trunk = f"sip: {{trunks: {{PBX: {{peer: 127.0.0.1, acl: ['{network}']}}}}}}"
    assert load(trunk).sip.trunks["PBX"].acl == (network,)


def test_how_an_account_is_shown_and_a_nat_kept_open_is_the_operators(load: Load) -> None:
    trunk = "{registrar: 'sip:127.0.0.1', username: u, realm: home, minimum_digest: SHA-256, keep_alive: 25s}"
    (options,) = (
        load(f"sip: {{trunks: {{a: {trunk}}}}}\n").user_agent_options({"a": (Hop("127.0.0.1", 5060),)}, "").trunks
    )
    assert (options.auth_realm, options.minimum_algorithm, options.keepalive_s) == ("home", "SHA-256", 25.0)
    assert "did you mean 'MD5'" in problems(load, "sip: {trunks: {a: {peer: 127.0.0.1, minimum_digest: MD4}}}\n")[0][2]


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("verify_client: true", lambda options: options.verify_client is True),
        ("verify_server: false", lambda options: options.verify_server is False),
        ("minimum_version: '1.3'", lambda options: options.minimum_version == "1.3"),
    ],
)
def test_what_is_asked_of_tls_peers_reaches_the_contexts(
    load: Load, key: str, found: Callable[[TlsOptions], bool]
) -> None:
    text = "sip: {tls: {listen: '127.0.0.1:5061', certificate: a.pem, ca: ca.pem%s}}\n"
    before, after = load(text % "").tls_options(), load(text % f", {key}").tls_options()
    assert before is not None
    assert after is not None
    assert (found(before), found(after)) == (False, True)


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("acl: [198.51.100.0/24]", lambda options: options.acl == ("198.51.100.0/24",)),
        ("expires: 10m", lambda options: options.expires_s == 600),
    ],
)
def test_a_key_of_a_trunk_reaches_the_trunk(load: Load, key: str, found: Callable[[TrunkOptions], bool]) -> None:
    trunks = [
        load(f"sip: {{trunks: {{a: {{peer: 127.0.0.1{more}}}}}}}\n")
        .user_agent_options({"a": (Hop("127.0.0.1", 5060),)}, "")
        .trunks[0]
        for more in ("", f", {key}")
    ]
    assert [found(trunk) for trunk in trunks] == [False, True]


def test_whom_a_leg_hears_is_the_operators(load: Load) -> None:
    policies = [
        load(f"media: {{rtp: {{{key}}}}}\n").rtp_port_options().source_policy for key in ("", "source: sdp-address")
    ]
    assert policies == ["sdp", "sdp-address"]


def test_nothing_is_recorded_without_a_folder(load: Load) -> None:
    assert load().recording_options() is None
    assert load("records: {recordings: {format: opus}}\n").recording_options() is None


def test_recordings_go_where_the_operator_says(load: Load, tmp_path: Path) -> None:
    text = (
        "records: {recordings: {folder: kept, format: opus, name: '{caller}/{id}', min_free: 1.5 GB, keep_days: 30}}\n"
    )
    options = load(text).recording_options()
    assert options == RecordingOptions(
        folder=tmp_path / "kept", format="opus", name="{caller}/{id}", min_free_bytes=1_500_000_000, keep_days=30
    )
    bare = load("records: {recordings: {folder: /var/kept, min_free: 0}}\n").recording_options()
    assert bare == RecordingOptions(folder=Path("/var/kept"), min_free_bytes=0)


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("format: mp3", "expected one of opus, wav"),
        ("name: '../{id}'", "leads out of the folder"),
        ("name: '{number}'", "holds {number} (expected a name within the folder, of {date}"),
        ("min_free: much", "expected a size such as 500MB or 2GB"),
        ("min_free: 500", "expected a size such as 500MB or 2GB"),
        ("keep_days: 0", "expected greater than or equal to 1"),
    ],
)
def test_recordings_that_cannot_be_meant_are_told_at_their_place(load: Load, key: str, told: str) -> None:
    ((line, column, text),) = problems(load, f"records:\n  recordings:\n    {key}\n")
    assert (line, column) == (3, 5 + len(key.partition(":")[0]) + 2)
    assert told in text


def test_g722_is_spoken_only_where_its_library_is(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("    PBX:\n", "    PBX:\n      codecs: [G722, PCMU]\n")
    for is_installed, spoken in ((True, ("G722", "PCMU")), (False, ("PCMU",))):
        monkeypatch.setattr("gateway.config.sip.is_available", lambda is_installed=is_installed: is_installed)
        configuration = load(text)
        hops = {"PBX": (Hop("127.0.0.1", 5070),)}
        assert configuration.trunk_policies(hops)["PBX"].codecs == spoken
        assert configuration.missing_codecs() == ([] if is_installed else [("PBX", "G722")])


SPENDING = """
limits:
  budget:
    call: {minutes: 10, tokens: 100000, money: 1.50}
    caller: {minutes: 30}
    day: {money: 20}
    reserve: {money: 0.25}
    state: state/spending.db
"""
PRICED = """
realtime:
  default: {provider: openai, url: "wss://api.example/v1", model: gpt-realtime-2.1, transcription: whisper-1}
  own:
    provider: openai
    url: "wss://api.example/v1"
    model: ours
    prices: {audio: {input: 1, cached: 0.5, output: 2}, per_minute: 0.6, transcription: {per_minute: 0.06}}
"""


def test_budgets_reach_those_who_keep_them(load: Load, tmp_path: Path) -> None:
    configuration = load(GOOD + SPENDING)
    budget = configuration.limits.budget
    assert budget.call.budget() == Budget(minutes=10, tokens=100_000, money=Decimal("1.50"))
    days = budget.day_budgets()
    assert (days.caller, days.called, days.day) == (Budget(minutes=30), Budget(), Budget(money=Decimal(20)))
    assert days.reserve == Budget(minutes=1, money=Decimal("0.25"))
    assert budget.state == tmp_path / "state" / "spending.db"


def test_prices_are_those_of_the_table_or_the_operators_own(load: Load) -> None:
    configuration = load(GOOD + PRICED)
    prices = configuration.session_prices()
    assert prices["default"] == session_prices("openai", "gpt-realtime-2.1", "whisper-1")
    own = Price(audio=Rates(input=Decimal(1), cached=Decimal("0.5"), output=Decimal(2)), per_second=Decimal("0.01"))
    assert prices["own"] == SessionPrices(model=own, transcription=Price(per_second=Decimal("0.001")))
    assert configuration.unpriced() == ()


def test_words_of_callers_are_written_down_where_a_model_does_it_and_by_the_embedded_server(load: Load) -> None:
    assert load(GOOD).untranscribed() == ()
    assert load(GOOD + PRICED).untranscribed() == ("own",)


def test_the_embedded_server_is_free(load: Load) -> None:
    configuration = load(GOOD + SPENDING)
    assert configuration.session_prices() == {"default": SessionPrices(model=Price(), transcription=Price())}


def test_money_is_not_limited_where_nobody_knows_the_price(load: Load) -> None:
    unknown = PRICED[: PRICED.index("    prices:")].replace("whisper-1", "whisper-9")
    assert load(GOOD + unknown).unpriced() == ("default", "own")
    with pytest.raises(ConfigurationError) as refused:
        load(GOOD + unknown + SPENDING)
    told = [(problem.line, problem.message, problem.expected) for problem in refused.value.problems]
    lines = (GOOD + unknown).splitlines()
    first = next(number for number, line in enumerate(lines, 1) if "whisper-9" in line)
    second = next(number for number, line in enumerate(lines, 1) if "model: ours" in line)
    counts = "costs, and limits.budget.call.money counts money"
    assert told == [
        (
            first,
            f"nobody knows what whisper-9 {counts}",
            "expected realtime.default.prices with transcription, see docs/budget.md",
        ),
        (second, f"nobody knows what ours {counts}", "expected realtime.own.prices, see docs/budget.md"),
    ]


def test_minutes_are_limited_without_any_price(load: Load) -> None:
    unknown = PRICED[: PRICED.index("    prices:")]
    assert load(GOOD + unknown + "limits: {budget: {call: {minutes: 5, tokens: 9}, day: {minutes: 60}}}").unpriced()


def test_price_without_a_figure_is_refused_at_its_place(load: Load) -> None:
    with pytest.raises(ConfigurationError, match=r"holds no price \(expected text, audio, image or per_minute\)"):
        load(GOOD + PRICED[: PRICED.index("    prices:")] + "    prices: {}\n")


def test_the_documentation_of_budgets_shows_what_can_be_configured(load: Load) -> None:
    documentation = (REPOSITORY / "docs" / "budget.md").read_text("utf-8")
    limits, _, prices = re.findall(r"```yaml\n(.*?)```", documentation, re.DOTALL)
    configuration = load(GOOD + limits + prices)
    assert configuration.limits.budget.call.tokens == 200_000
    assert configuration.unpriced() == ()
    with pytest.raises(ConfigurationError, match="nobody knows what our-model costs"):
        load(GOOD + limits + prices[: prices.index("    prices:")])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("dialplans:\n  - nope.yaml\n", "gateway.yaml:2:5: {folder}/nope.yaml cannot be read: No such file"),
        ("log: {level: info}\n", "gateway.yaml:1:1: no dialplan is named (expected dialplans: [FILE])"),
    ],
)
def test_a_dialplan_that_is_not_there_is_shown_at_the_line_that_names_it(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    with pytest.raises(ConfigurationError) as raised:
        load_plans(load_configuration(file, {}))
    (found,) = raised.value.problems
    assert str(found).startswith(f"{tmp_path}/{problem.format(folder=tmp_path)}")
