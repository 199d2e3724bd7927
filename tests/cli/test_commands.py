"""The command line: what it prints where, and its exit status."""

from __future__ import annotations

import importlib.util
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app

REPOSITORY = Path(__file__).resolve().parents[2]
RECEPTION = REPOSITORY / "dialplans" / "reception.yaml"
GOOD = f"""\
sip:
  listen: 127.0.0.1:5060
  trunks: {{pbx: {{peer: 127.0.0.1}}}}
realtime: {{default: {{provider: openai, url: "ws://127.0.0.1:9/v1"}}}}
dialplans: ["{RECEPTION}"]
"""


def gateway(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", **environment},
        check=False,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.yaml"
    file.write_text(GOOD)
    return file


def test_help_lists_the_commands() -> None:
    shown = gateway("--help").stdout
    assert all(
        command in shown
        for command in (
            "run",
            "check",
            "call",
            "demo",
            "dialplan",
            "serve-embedded",
            "simulate",
            "bench",
            "config",
            "version",
        )
    )


def test_unknown_command_is_bad_usage() -> None:
    done = gateway("rum")
    assert done.returncode == 2
    assert "rum" in done.stderr


def test_version_names_licence_and_python() -> None:
    shown = gateway("version").stdout
    assert gateway("--version").stdout.splitlines() == shown.splitlines()[:1]
    assert "GPL-3.0-or-later" in shown
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in shown


def test_config_defaults_is_the_shipped_file() -> None:
    assert gateway("config", "--defaults").stdout == (REPOSITORY / "config" / "gateway.yaml").read_text()


def test_check_of_a_good_configuration_says_so(config: Path) -> None:
    done = gateway("check", "-c", config)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(f"{config}: good (1 trunk, 1 dialplan)\n")


def test_check_tells_where_trunks_are(config: Path) -> None:
    config.write_text(GOOD.replace("peer: 127.0.0.1", "peer: 'localhost:5070'"))
    done = gateway("check", "-c", config)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "trunk pbx: localhost: 127.0.0.1:5070")


def test_check_of_a_trunk_whose_name_is_none_fails_with_a_remedy(config: Path) -> None:
    config.write_text(GOOD.replace("peer: 127.0.0.1", f"peer: {'a' * 64}.example"))
    done = gateway("check", "-c", config)
    assert done.returncode == 1
    assert done.stderr.startswith(f"gateway: {config}:3:24: cannot resolve ")
    assert "configure its IP address" in done.stderr


def test_check_warns_of_a_name_that_is_none_where_another_server_will_do(config: Path) -> None:
    absent = f"{'a' * 64}.example"
    config.write_text(GOOD.replace("peer: 127.0.0.1", f"peer: [{absent}, 127.0.0.1]"))
    done = gateway("check", "-c", config)
    warning, verdict = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert warning.startswith(f"trunk pbx: {absent}: warning: cannot resolve ")
    assert "good" in verdict


def test_check_warns_of_g722_where_its_library_is_missing(config: Path, tmp_path: Path) -> None:
    config.write_text(GOOD.replace("peer: 127.0.0.1", "peer: 127.0.0.1, codecs: [G722, PCMA]"))
    (tmp_path / "G722.py").write_text("raise ImportError")
    done = gateway("check", "-c", config, PYTHONPATH=str(tmp_path))
    warning, verdict = done.stdout.splitlines()[-2:]
    assert (done.returncode, done.stderr) == (0, "")
    assert warning.startswith("trunk pbx: warning: G722 is left out")
    assert "pip install '.[wideband]'" in warning
    assert "good" in verdict
    config.write_text(GOOD.replace("peer: 127.0.0.1", "peer: 127.0.0.1, codecs: [G722]"))
    done = gateway("check", "-c", config, PYTHONPATH=str(tmp_path))
    assert done.returncode == 2
    assert "pip install '.[wideband]'" in done.stderr


def test_check_is_content_with_g722_where_its_library_is(config: Path) -> None:
    pytest.importorskip("G722", reason="the `wideband` extra is not installed")
    config.write_text(GOOD.replace("peer: 127.0.0.1", "peer: 127.0.0.1, codecs: [G722, PCMA]"))
    assert "warning" not in gateway("check", "-c", config).stdout


def test_check_warns_of_mcp_servers_where_their_library_is_missing(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = config.parent / "plan.yaml"
    plan.write_text(
        "{version: 1, name: p, timezone: UTC, mcp: {crm: {command: crm-server}}, "
        "sessions: {s: {use: default, tools: [crm]}}, routes: [{name: all, do: [{session: s}]}]}"
    )
    config.write_text(GOOD.replace(str(RECEPTION), str(plan)))
    assert "mcp servers" not in CliRunner().invoke(app, ["check", "-c", str(config)]).stdout
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    checked = CliRunner().invoke(app, ["check", "-c", str(config)])
    assert checked.exit_code == 0
    assert "warning: mcp servers crm are left out, the library is missing: pip install '.[mcp]'" in checked.stdout


def test_a_tls_file_that_cannot_be_read_is_told_with_the_line_that_names_it(config: Path) -> None:
    config.write_text(
        GOOD.replace("realtime:", "  tls:\n    listen: 127.0.0.1:5061\n    certificate: no.crt\nrealtime:")
    )
    for command in ("check", "run"):
        done = gateway(command, "-c", config)
        assert done.returncode == 1
        assert done.stderr == (
            f"gateway: {config}:6:18: TLS certificate {config.parent / 'no.crt'} cannot be read: "
            "No such file or directory; configure sip.tls.certificate, or let this user read it\n"
        )


def test_check_warns_where_nobody_can_call(config: Path) -> None:
    config.write_text(GOOD.replace("{pbx: {peer: 127.0.0.1}}", "{}"))
    done = gateway("check", "-c", config)
    assert done.returncode == 0
    assert "warning: nobody can call without a trunk" in done.stdout


def test_check_warns_of_fewer_rtp_ports_than_calls(config: Path) -> None:
    config.write_text(GOOD + "media: {rtp: {ports: 40000-40009}}\nlimits: {max_calls: 6}\n")
    assert "warning: media.rtp.ports has ports for 5 calls, limits.max_calls lets in 6" in (
        gateway("check", "-c", config).stdout
    )
    config.write_text(GOOD + "media: {rtp: {ports: 40000-40009}}\nlimits: {max_calls: 5}\n")
    assert "warning" not in gateway("check", "-c", config).stdout


def test_listen_that_is_no_address_is_bad_input_with_its_place(config: Path) -> None:
    done = gateway("check", "-c", config, GATEWAY__SIP__LISTEN="[::1:5064")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("GATEWAY__SIP__LISTEN:1:1: 'listen' is '[::1:5064' (expected IP:PORT")


def test_check_goes_on_where_no_name_server_answers(config: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        dns = f"dns: {{servers: ['127.0.0.1:{silent.getsockname()[1]}'], timeout: 300ms}}"
        config.write_text(GOOD.replace("peer: 127.0.0.1", "peer: pbx.example").replace("sip:", f"sip:\n  {dns}", 1))
        done = gateway("check", "-c", config)
    assert done.returncode == 0
    assert "trunk pbx: pbx.example: not known at the moment: " in done.stdout


def test_check_prints_every_problem_with_its_place_to_stderr(config: Path) -> None:
    config.write_text(GOOD.replace("listen", "lissen").replace("peer", "pear"))
    done = gateway("check", "-c", config)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{config}:2:3: unknown key 'lissen' (did you mean 'listen'?)" in done.stderr.splitlines()
    assert "'pear'" in done.stderr
    assert "Traceback" not in done.stderr


def test_problems_of_a_dialplan_are_told_with_the_dialplans_place(config: Path, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    prompt = str(RECEPTION.parent / "prompts/reception.md")
    text = RECEPTION.read_text().replace("prompts/reception.md", prompt)
    plan.write_text(text.replace("use: default", "use: defualt"))
    config.write_text(GOOD.replace(str(RECEPTION), str(plan)))
    done = gateway("check", "-c", config)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{plan}:")
    assert "did you mean 'default'?" in done.stderr


def test_recording_of_the_demo_that_cannot_be_written_is_bad_usage_before_the_call(tmp_path: Path) -> None:
    done = gateway("demo", "--wav", tmp_path / "missing" / "demo.wav", COLUMNS="400")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be written: No such file or directory" in done.stderr


@pytest.mark.parametrize("hold", ["0", "-1"])
def test_callers_that_do_not_stay_are_bad_usage(hold: str) -> None:
    done = gateway("simulate", "--calls", "1", "--hold", hold)
    assert done.returncode == 2
    assert "--hold" in done.stderr


def test_missing_configuration_is_told_plainly(tmp_path: Path) -> None:
    done = gateway("run", "-c", tmp_path / "absent.yaml")
    assert done.returncode == 2
    assert "absent.yaml: cannot be read" in done.stderr


def test_run_on_a_taken_port_names_it_and_ends_with_1(config: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        done = gateway("run", "-c", config, GATEWAY__SIP__LISTEN=f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr


def test_route_tells_the_whole_story_as_json() -> None:
    done = gateway("dialplan", "route", RECEPTION, "--to", "7000", "--from", "1001", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert report["actions"]
    assert report["rules"][-1]["matched"] is True


def test_route_at_a_time_that_is_none_is_bad_input() -> None:
    done = gateway("dialplan", "route", RECEPTION, "--to", "7000", "--from", "1001", "--at", "noon")
    assert done.returncode == 2
    assert done.stderr.startswith("--at: ")


def test_shipped_dialplans_pass_their_tests() -> None:
    done = gateway("dialplan", "test", *sorted((REPOSITORY / "dialplans").glob("*.yaml")))
    assert done.returncode == 0, done.stdout + done.stderr


def test_failing_case_of_a_dialplan_ends_with_1(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "version: 1\nname: a\ntimezone: UTC\nroutes:\n  - {name: all, do: [{hang_up: true}]}\n"
        'tests:\n  - {call: {to: "1", from: "2", at: "2026-11-20T10:00"}, expect: {reject: 603}}\n'
    )
    assert gateway("dialplan", "test", plan).returncode == 1


def test_a_chosen_case_of_a_dialplan_is_run_alone(tmp_path: Path) -> None:
    plan, other = tmp_path / "plan.yaml", tmp_path / "other.yaml"
    head = "version: 1\nname: a\ntimezone: UTC\nroutes:\n  - {name: all, do: [{hang_up: true}]}\ntests:\n"
    case = '  - {name: %s, call: {to: "1", from: "2", at: "2026-11-20T10:00"}, expect: {%s}}\n'
    plan.write_text(head + case % ("bad", "reject: 603") + case % ("good", "hang_up: true"))
    other.write_text(head + case % ("else", "reject: 603"))
    done = gateway("dialplan", "test", "--only", "good", plan, other)
    assert (done.returncode, done.stdout) == (0, f"pass  {plan}:8  good\n")
    assert gateway("dialplan", "test", "--only", "bad", plan).returncode == 1
    refused = gateway("dialplan", "test", "--only", "god", plan)
    assert (refused.returncode, refused.stderr) == (2, "--only: there is no test 'god' (did you mean 'good'?)\n")


def test_schema_is_json() -> None:
    assert json.loads(gateway("dialplan", "schema").stdout)["type"] == "object"


@pytest.mark.parametrize("arguments", [["sand"], ["realtime", "--append-ms", "30"], ["realtime", "--delta-ms", "7"]])
def test_a_bench_that_there_is_not_is_bad_usage(arguments: list[str]) -> None:
    done = gateway("bench", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert arguments[-1] in done.stderr


def test_bench_udp_tells_its_ratios_as_one_json_document() -> None:
    told = json.loads(gateway("bench", "udp", "--json").stdout)
    assert [row["calls"] for row in told["receive"]] == [1, 16, 256]
    assert all(row["ratio"] > 0 for row in told["send"] + told["receive"])
