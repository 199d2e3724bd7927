"""``gateway bench``: what things cost, each beside its baseline in the same run."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated, Literal

import typer

app = typer.Typer(
    help="Benchmarks, each beside its baseline in the same run; all but `embedded`, briefly, where none is named.",
    invoke_without_command=True,
)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
AppendOption = Annotated[int, typer.Option(help="Audio in one append: 20, 40, 60 or 100 ms.")]


@app.callback()
def bench(context: typer.Context, as_json: JsonOption = False) -> None:
    """Run all of them where none is named."""
    if context.invoked_subcommand is None:
        run_all(as_json=as_json)


@app.command()
def media(as_json: JsonOption = False) -> None:
    """Transcoding, whole ticks of the engine and SRTP: CPU time a 20 ms frame."""
    from gateway.simulate import bench_media

    bench_media.run(json=as_json)


@app.command()
def udp(as_json: JsonOption = False) -> None:
    """RTP sockets: CPU time a packet, beside asyncio and the bare system calls."""
    from gateway.simulate import bench_udp

    bench_udp.run(json=as_json)


@app.command()
def sip(as_json: JsonOption = False) -> None:
    """SIP without sockets: CPU time of a message parsed, of a call answered and placed, beside a plain parser."""
    from gateway.simulate import bench_sip

    bench_sip.run(json=as_json)


@app.command()
def provider(as_json: JsonOption = False) -> None:
    """The provider's side of a call: events, WebSocket, TLS, set-ups and memory, beside the plain client."""
    from gateway.simulate import bench_provider

    bench_provider.run(json=as_json)


@app.command()
def realtime(
    calls: Annotated[int, typer.Option(min=1, help="Calls at once; where --search begins.")] = 300,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds measured, after a warm-up of 4 s.")] = 10.0,
    append_ms: AppendOption = 60,
    delta_ms: Annotated[int, typer.Option(help="Audio in one piece of the model: 20, 60, 100 or 300 ms.")] = 100,
    jitter_ms: Annotated[int, typer.Option(min=0, max=300, help="Least delay of our jitter buffer.")] = 0,
    audio: Annotated[
        Literal["pcm16", "pcmu"], typer.Option("--format", help="What the model takes and gives.")
    ] = "pcm16",
    tls: Annotated[bool, typer.Option("--tls", help="WebSockets over TLS.")] = False,
    baseline_calls: Annotated[int, typer.Option(min=0, help="Calls of the naive gateway; 0 leaves it out.")] = 100,
    baseline_append_ms: Annotated[
        int | None, typer.Option(help="Audio in one append of the naive gateway; --append-ms by default.")
    ] = None,
    search: Annotated[
        bool,
        typer.Option("--search", help="Raise both numbers of calls until CPU > 80 %, lateness p99 >= 5 ms or loss."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Calls end to end, from RTP to the speech model and back, without SIP: what one core carries."""
    from gateway.simulate import bench_realtime

    for name, length_ms in (("append-ms", append_ms), ("baseline-append-ms", baseline_append_ms or append_ms)):
        if length_ms not in bench_realtime.APPENDS_MS:
            raise typer.BadParameter(f"--{name} is 20, 40, 60 or 100, not {length_ms}")
    if delta_ms not in bench_realtime.DELTAS_MS:
        raise typer.BadParameter(f"--delta-ms is 20, 60, 100 or 300, not {delta_ms}")
    options = bench_realtime.RealtimeBenchOptions(
        calls=calls,
        seconds=seconds,
        append_ms=append_ms,
        delta_ms=delta_ms,
        jitter_ms=jitter_ms,
        format=audio,
        tls=tls,
        baseline_calls=baseline_calls,
        baseline_append_ms=baseline_append_ms or append_ms,
        search=search,
    )
    bench_realtime.run(options, json=as_json)


@app.command()
def embedded(
    turns: Annotated[int, typer.Option(min=1, help="Questions that each caller asks.")] = 4,
    calls: Annotated[
        list[int] | None, typer.Option(min=1, help="Callers at once, in the place of 1, 8 and 20; then nothing else.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """The embedded server: what it hears, simulated and over calls, and how soon it answers 1, 8 and 20 of them."""
    from gateway.cli.heard_calls import measure_calls
    from gateway.simulate import bench_embedded
    from gateway.simulate.bench_hearing import VOICES

    over_calls = () if calls else asyncio.run(measure_calls(VOICES))
    bench_embedded.run(json=as_json, turns=turns, calls=tuple(calls or ()), over_calls=over_calls)


@app.command(name="all")
def run_all(as_json: JsonOption = False) -> None:
    """All but `embedded`, briefly."""
    from gateway.simulate import bench_media, bench_provider, bench_realtime, bench_sip, bench_udp

    results = (
        bench_media.measure(legs=(1, 100)),
        bench_udp.measure(calls=(1, 100)),
        bench_sip.measure(),
        bench_provider.measure(connections=20, kept=50, rounds=10),
        bench_realtime.measure(bench_realtime.RealtimeBenchOptions(calls=100, seconds=4.0)),
    )
    if as_json:
        typer.echo(json.dumps({"bench": "all"} | {str(told["bench"]): told for told in (r.as_json() for r in results)}))
    else:
        typer.echo("\n\n".join(result.as_text() for result in results))
