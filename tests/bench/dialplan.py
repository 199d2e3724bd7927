"""How long a dialplan takes to decide: 200 routes of every kind, calls that the first, a late and no route takes.

    python -m tests.bench.dialplan

*Decided* is `Dialplan.decide`, as a call asks it; *explained* the same with the reason of every route tried, as
`gateway dialplan route` shows it, which is what a decision costs that tries them all. Median of 2,000 calls each.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, Dialplan

ROUTES, CALLS = 200, 2000
HEAD = """\
version: 1
name: bench
timezone: Europe/Berlin
hours:
  office: {mon-fri: "09:00-17:30", sat: "10:00-12:00", except: [2026-12-24..2026-12-26]}
lists: {blocked: ["+4990*", "+49301111111", anonymous]}
sessions: {reception: {use: default}}
routes:
"""
KINDS = (
    'match: {{to: "7{n:03d}", hours: office}}',
    'match: {{to: ["+4930{n:03d}*", "8{n:03d}"], from: "+49*"}}',
    'match: {{to: "9{n:03d}", header: {{X-Queue: "gold*"}}}}',
    'match: {{to: "7{n:03d}", from: "@blocked"}}',
    'match: {{from: "+4917{n:03d}*", trunk: pbx}}',
    'match: {{to: "6{n:03d}", name: "Bob*", language: de, split: 20%}}',
    'match: {{to: "7{n:03d}"}}',
    'match: {{to: "/5{n:03d}[0-9]{{2}}/"}}',
    'match: {{diversion: "+4930{n:03d}", trunk: pbx}}',
    'match: {{header: {{X-Tenant: "t{n}"}}, hours: office}}',
)


def lines() -> Iterator[str]:
    """The routes of the plan."""
    for n in range(ROUTES):
        yield f"  - {{name: r{n}, {KINDS[n % len(KINDS)].format(n=n)}, do: [{{session: reception}}]}}\n"


def microseconds(ask: Callable[[], object]) -> float:
    """The median time that `ask` takes."""
    times = []
    for _ in range(CALLS):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e6


def measure(plan: Dialplan, facts: CallFacts) -> tuple[str, float, float]:
    """The route of a call, and how many microseconds it takes to be decided, and to be explained."""
    decision = plan.decide(facts)
    return decision.route, microseconds(lambda: plan.decide(facts)), microseconds(lambda: plan.decide(facts).trace)


def main() -> None:
    """Print the table."""
    at = datetime(2026, 11, 20, 9, tzinfo=UTC)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        file.write_text(HEAD + "".join(lines()), "utf-8")
        plan = load_dialplan(file)
    headers = {f"X-Header-{n}": "value" for n in range(20)}
    calls = {"the first": "7000", "a late one": "7196", "none": "+1555"}
    sys.stdout.write(f"{'route taken':<20}{'decided, us':>12}{'explained, us':>15}\n")
    for kind, number in calls.items():
        facts = CallFacts(to=number, from_="+49301234", at=at, trunk="pbx", headers=headers)
        route, decided, explained = measure(plan, facts)
        sys.stdout.write(f"{f'{kind} ({route})':<20}{decided:>12.1f}{explained:>15.1f}\n")


if __name__ == "__main__":
    main()
