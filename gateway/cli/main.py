"""The command ``gateway``. Exit status: 0 done, 1 the work failed, 2 bad usage or bad input."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

import gateway
from gateway.cli import bench, dialplan, voicemail
from gateway.errors import ConfigurationError, GatewayError, counted

# The filters are small matrix products: threads of OpenBLAS would only take the core from each other. Read at import.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

app = typer.Typer(
    name="gateway",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(dialplan.app, name="dialplan")
app.add_typer(bench.app, name="bench")
app.add_typer(voicemail.app, name="voicemail")

ConfigOption = Annotated[Path, typer.Option("-c", "--config", help="Configuration file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]


def _own_version() -> str:
    return f"sip-voice-gateway {gateway.__version__} (GPL-3.0-or-later)"


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(_own_version())
        raise typer.Exit


@app.callback()
def _options(
    is_version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A SIP voice gateway: answers a company's phone with a realtime speech model."""


def main() -> NoReturn:
    """Run the command line."""
    try:
        app()
    except ConfigurationError as error:
        for problem in error.problems:
            typer.echo(str(problem), err=True)
        sys.exit(2)
    except GatewayError as error:
        typer.echo(f"gateway: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


@app.command()
def run(config: ConfigOption) -> None:
    """Run the service. SIGTERM drains, a second one ends at once, SIGHUP reloads the dialplans."""
    from gateway.cli.logs import configure_logs
    from gateway.cli.run import run_service
    from gateway.config import load_configuration
    from gateway.transport import event_loop

    configuration = load_configuration(config)
    configure_logs(configuration.log.level, sip_trace=configuration.log.sip_trace)
    event_loop.run(run_service(configuration))


@app.command()
def check(config: ConfigOption) -> None:
    """Check a configuration and the dialplans it names, and where its trunks are; print every problem."""
    from gateway.calls.tools.mcp_server import REMEDY
    from gateway.calls.tools.services import servers_left_out
    from gateway.cli.locations import describe_trunks
    from gateway.cli.placed import placed, tls_of
    from gateway.cli.service import load_plans
    from gateway.config import load_configuration
    from gateway.media.g722 import WIDEBAND_REMEDY
    from gateway.records.folder import folder_problem
    from gateway.records.recordings import problem_of

    configuration = load_configuration(config)
    plans = load_plans(configuration)
    lines, error = asyncio.run(describe_trunks(configuration))
    for line in lines:
        typer.echo(line)
    for trunk, codec in configuration.missing_codecs():
        typer.echo(f"trunk {trunk}: warning: {codec} is left out, its library is missing: {WIDEBAND_REMEDY}")
    if error is not None:
        raise placed(configuration, error)
    tls_of(configuration)
    for variable in configuration.overlooked:
        typer.echo(f"warning: {variable}")
    recordings = configuration.recording_options()
    if recordings is not None and (problem := problem_of(recordings)):
        typer.echo(f"warning: nothing can be recorded in {recordings.folder}: {problem}")
    messages = configuration.records.voicemail.options()
    if messages is not None and (problem := folder_problem(messages.folder)):
        typer.echo(f"warning: no messages can be kept in {messages.folder}: {problem}")
    if left_out := servers_left_out(plans):
        typer.echo(f"warning: mcp servers {', '.join(left_out)} are left out, the library is missing: {REMEDY}")
    if not configuration.sip.trunks:
        typer.echo("warning: nobody can call without a trunk (expected sip.trunks)")
    room, wanted = len(configuration.rtp_port_options().ports), configuration.limits.max_calls
    if room < wanted:
        typer.echo(f"warning: media.rtp.ports has ports for {counted(room, 'call')}, limits.max_calls lets in {wanted}")
    trunks, dialplans = counted(len(configuration.sip.trunks), "trunk"), counted(len(plans), "dialplan")
    typer.echo(f"{config}: good ({trunks}, {dialplans})")


@app.command()
def call(
    config: ConfigOption,
    number: Annotated[str, typer.Argument(help="Whom to call: 6001, sip:USER@HOST, tel:+4930123456.")],
    session: Annotated[str | None, typer.Option(help="A dialplan's session, needed where no route fits.")] = None,
    trunk: Annotated[str | None, typer.Option(help="The trunk to call through; the first there is by default.")] = None,
    values: Annotated[
        list[str] | None, typer.Option("--set", help="NAME=VALUE for a variable of the plan; as often as needed.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Place a call: by the dialplan's route for outgoing calls, or with a session of it. Ctrl-C hangs up."""
    from gateway.cli.call import place_call
    from gateway.cli.logs import configure_logs
    from gateway.config import load_configuration
    from gateway.dialplan.targets import parse_target
    from gateway.located import WrongValue

    try:
        target = parse_target(number)
    except WrongValue as error:
        raise typer.BadParameter(f"{number!r} cannot be called; {error.expected}") from error
    variables = dict(_pair(text) for text in values or ())
    configuration = load_configuration(config)
    configure_logs("error", sys.stderr)
    say = (lambda _line: None) if as_json else typer.echo
    placed = asyncio.run(place_call(configuration, target, session=session, trunk=trunk, say=say, variables=variables))
    typer.echo(json.dumps(placed.as_json()) if as_json else placed.summary())
    if not placed.is_ok:
        sys.exit(1)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r} sets no variable; expected --set NAME=VALUE")
    return name, value


@app.command()
def demo(
    say: Annotated[list[str] | None, typer.Option(help="What the caller says, one sentence an option.")] = None,
    to: Annotated[str, typer.Option(help="The number the caller dials.")] = "7000",
    wav: Annotated[Path, typer.Option(help="Stereo recording: caller left, agent right.")] = Path("demo.wav"),
    as_json: JsonOption = False,
) -> None:
    """Call the gateway over SIP and RTP on this machine, talk to it, and be transferred."""
    from gateway.cli.demo import run_demo
    from gateway.cli.logs import configure_logs

    try:
        wav.open("ab").close()  # before the call, not after it
    except OSError as error:
        raise typer.BadParameter(f"{wav} cannot be written: {error.strerror}") from error
    configure_logs("error", sys.stderr)
    result = asyncio.run(run_demo(sentences=tuple(say or ()), number=to, wav=wav, is_quiet=as_json))
    if as_json:
        typer.echo(json.dumps(result.as_json()))
    else:
        typer.echo(result.summary())
    if not result.is_ok:
        sys.exit(1)


@app.command()
def simulate(
    config: Annotated[
        Path | None, typer.Option("-c", "--config", help="Configuration file; the shipped gateway.yaml by default.")
    ] = None,
    calls: Annotated[int, typer.Option(min=1, help="Callers in all.")] = 20,
    rate: Annotated[float, typer.Option(min=0.01, help="New calls a second.")] = 5.0,
    hold: Annotated[
        float | None,
        typer.Option(
            min=1, help="Seconds each caller stays; by default all stay until 20 s after the last has called."
        ),
    ] = None,
    to: Annotated[str, typer.Option(help="The number they dial.")] = "7000",
    provider: Annotated[
        Literal["light", "configured"],
        typer.Option(help="Who speaks: a scripted speech model, or those that the configuration names."),
    ] = "light",
    as_json: JsonOption = False,
) -> None:
    """Load a gateway, started for the purpose, with real SIP/RTP callers over loopback; tell what was at its limit."""
    from gateway.cli.logs import configure_logs
    from gateway.cli.shipped import shipped
    from gateway.cli.simulate import DEFAULT_HOLD_S, run_simulation
    from gateway.simulate.load import LoadOptions

    configure_logs("error", sys.stderr)
    hold_s = DEFAULT_HOLD_S if hold is None else hold
    options = LoadOptions(calls=calls, rate_cps=rate, hold_s=hold_s, leaves_together=hold is None, number=to)
    result = asyncio.run(run_simulation(config or shipped("config/gateway.yaml"), options, provider))
    typer.echo(json.dumps(result.as_json()) if as_json else result.summary())
    if result.load.answered < calls:
        sys.exit(1)


@app.command(name="serve-embedded")
def serve_embedded(
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback it is open to the network: ask for a key there.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="TCP port; 0 for any.")] = 8765,
    brain: Annotated[Path | None, typer.Option(help="Dialogue file; a receptionist by default.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="GATEWAY_EMBEDDED_API_KEY",
            help="Key that clients must show; without one everybody may come in. Lists of processes show it.",
        ),
    ] = None,
    audio_speed: Annotated[
        float, typer.Option(min=0, help="Seconds of speech sent in a second; 1: real time, 0: as fast as it is made.")
    ] = 8.0,
    max_age: Annotated[float, typer.Option(min=0, help="Seconds after which a session is ended.")] = 3600.0,
) -> None:
    """Run the embedded realtime server alone: OpenAI Realtime GA on ws://HOST:PORT/v1/realtime."""
    from gateway.embedded.__main__ import main as serve

    chosen = ["--brain", str(brain)] if brain is not None else []
    chosen += ["--api-key", api_key] if api_key else []
    timing = ["--audio-speed", str(audio_speed), "--max-age", str(max_age)]
    sys.exit(serve(["--host", host, "--port", str(port), *timing, *chosen]))


@app.command()
def config(
    defaults: Annotated[bool, typer.Option("--defaults", help="Print every key, commented, with its default.")] = False,
) -> None:
    """Show configuration."""
    if not defaults:
        raise typer.BadParameter("say what to show: --defaults")
    from gateway.cli.shipped import shipped

    typer.echo(shipped("config/gateway.yaml").read_text(encoding="utf-8"), nl=False)


@app.command()
def version() -> None:
    """Print the versions of the gateway and what it stands on, and the licence."""
    typer.echo(_own_version())
    typer.echo(f"Python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in ("numpy", "websockets", "pyVoIP", "pydantic", "structlog", "pocketsphinx", "espeakng-loader"):
        try:
            typer.echo(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            typer.echo(f"{name} not installed")
