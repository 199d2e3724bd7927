"""Plans that somebody broke: each loads and behaves, or is refused at a place inside its file. Nothing else happens."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.dialplan.actions import SayAction, TransferAction, walk
from gateway.dialplan.explain import route_report
from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import CallFacts, TransferGranted
from gateway.dialplan.proof import run_tests
from gateway.dialplan.triggers import DigitPressed, ProviderDown
from gateway.errors import ConfigurationError, Problem
from tests.support.plans import EVERY_WORD, PLAN, TOOLS_PLAN, write_plan

pytestmark = pytest.mark.heavy

Step = str | int
VALUES = st.one_of(
    st.sampled_from(
        [
            *(
                None,
                True,
                False,
                0,
                -1,
                1.5,
                10**30,
                "",
                " ",
                "x",
                "office",
                "desk",
                "sales",
                "reception",
                "7*",
                "/(/",
                "*",
            ),
            *(
                [],
                {},
                [[]],
                {"x": 1},
                "anonymous",
                "closed.wav",
                "/dev/null",
                ".",
                "\x07",
                "2026-03-29T02:30",
                "mon-fri",
            ),
            *(
                "sip:6001",
                "23:00-01:00",
                "x.md",
                "{now} {x}",
                "UTC",
                "(no route)",
                "603",
                "é" * 2000,
                "\ud800",
                "0" * 5000,
                "{vars.order} {hours.office} {vars.}",
                "@vip",
                "DE-BE",
                "30d",
                "20%",
                "dtmf",
                "warm",
                "menu2",
                {"goto": "menu"},
                [{"goto": "menu"}],
                {"menu": {"1": [{"hang_up": "true"}]}},
                [{"session": "reception"}],
                {"url": "https://a.example/{vars.x}"},
            ),
        ]
    ),
    st.text(max_size=8),
    st.integers(),
)
CALLS = [
    CallFacts(to=to, from_=from_, at=at, trunk="pbx", headers={"X-Queue": "gold"})
    for to in ("7000", "")
    for from_ in ("+4990", "anonymous", "+49301")
    for at in (datetime(2026, 11, 20, 9, tzinfo=UTC), datetime(2026, 12, 25, 23, tzinfo=UTC))
]


def paths(value: object, path: tuple[Step, ...] = ()) -> Iterator[tuple[Step, ...]]:
    """The paths of all parts of `value`, itself left out."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from paths(child, (*path, key))


def mutated(plan: object, data: st.DataObject) -> object:
    """`plan` with one part deleted, renamed, duplicated, moved or replaced."""
    every = list(paths(plan))
    if not every:
        return plan
    *way, last = data.draw(st.sampled_from(every))
    parent = plan
    for step in way:
        parent = parent[step]  # type: ignore[index]
    part = parent[last]  # type: ignore[index]
    match data.draw(st.sampled_from(["delete", "rename", "duplicate", "move", "replace"])):
        case "delete":
            del parent[last]  # type: ignore[attr-defined]
        case "rename" if isinstance(parent, dict):
            parent[
                data.draw(
                    st.sampled_from(["x", "name", "do", "match", "else", "", "mon", "desk"]) | st.text(max_size=5)
                )
            ] = parent.pop(last)
        case "duplicate" if isinstance(parent, list):
            parent.insert(data.draw(st.integers(0, len(parent))), copy.deepcopy(part))
        case "move":
            elsewhere = data.draw(st.sampled_from(every))
            source = plan
            for step in elsewhere:
                source = source[step]  # type: ignore[index]
            parent[last] = copy.deepcopy(source)  # type: ignore[index]
        case _:
            parent[last] = copy.deepcopy(data.draw(VALUES))  # type: ignore[index]
    return plan


def behave(file: Path) -> None:
    """Load the plan at `file` and ask it everything. Raises: ConfigurationError."""
    plan = load_dialplan(file)
    plan.check_references(["default"], ["pbx"])
    assert run_tests(plan).text()
    for call in CALLS:
        report = route_report(plan, call)
        assert report.text()
        assert report.json()
        for session in plan.sessions:
            plan.tools(session, call.at)
            plan.instructions(session, call)
        for action in report.decision.actions:
            if isinstance(action, TransferAction):
                plan.resolve_transfer(action.contact, call.at)
        for contact in plan.contacts:
            granted = plan.resolve_transfer(contact, call.at)
            assert not isinstance(granted, TransferGranted) or granted.contact in plan.contacts
        for template in (action.text for action in walk(report.decision.actions) if isinstance(action, SayAction)):
            assert isinstance(plan.text(template, call), str)
    for event in (DigitPressed("0"), ProviderDown()):
        plan.react(event)


def problems_of(file: Path) -> tuple[Problem, ...]:
    """Why the plan at `file` is refused; nothing where it loads and behaves."""
    try:
        behave(file)
    except ConfigurationError as error:
        return error.problems or pytest.fail("refused without a problem")
    return ()


def load_or_refuse(file: Path) -> None:
    lines = file.read_bytes().decode("utf-8", "surrogatepass").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for problem in problems_of(file):
        assert problem.file == str(file)
        assert problem.message
        assert 1 <= problem.line <= len(lines)
        assert 1 <= problem.column <= len(lines[problem.line - 1]) + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plan(tmp_path_factory.mktemp("plan")).parent


@pytest.mark.parametrize("written", [PLAN, TOOLS_PLAN, EVERY_WORD], ids=["plan", "tools", "every-word"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_plan_with_changed_parts_loads_or_is_refused_in_place(
    folder: Path, written: str, data: st.DataObject
) -> None:
    plan = yaml.load(written, yaml.BaseLoader)  # noqa: S506 - text only, from this repository
    for _ in range(data.draw(st.integers(1, 3))):
        plan = mutated(plan, data)
    text = yaml.dump(plan, allow_unicode=True, sort_keys=False, default_flow_style=data.draw(st.booleans()))
    file = folder / "changed.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    load_or_refuse(file)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_plan_with_changed_lines_loads_or_is_refused_in_place(folder: Path, data: st.DataObject) -> None:
    lines = PLAN.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 3))):
        number = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["delete", "duplicate", "indent", "cut"])):
            case "delete" if len(lines) > 1:
                del lines[number]
            case "duplicate":
                lines.insert(number, lines[number])
            case "indent":
                lines[number] = data.draw(st.sampled_from(["  ", "\t", "- "])) + lines[number]
            case _:
                at = data.draw(st.integers(0, len(lines[number])))
                lines[number] = lines[number][:at] + data.draw(
                    st.sampled_from(["", "\n", ":", '"', "*", "&a", "[", "}", "#"])
                )
    file = folder / "changed.yaml"
    file.write_text("".join(lines), "utf-8")
    load_or_refuse(file)


# Where a mistake is shown ---------------------------------------------------------------------------------------------

NONSENSE = ("!!", "", "\x07", "9" * 400)


def leaves(plan: object) -> list[tuple[Step, ...]]:
    """The paths of all values that hold no others."""
    return [path for path in paths(plan) if not isinstance(part_at(plan, path), dict | list)]


def tables(plan: object) -> list[tuple[Step, ...]]:
    """The paths of all tables."""
    return [(), *(path for path in paths(plan) if isinstance(part_at(plan, path), dict))]


def part_at(plan: object, path: tuple[Step, ...]) -> object:
    for step in path:
        plan = plan[step]  # type: ignore[index]
    return plan


def span_of(text: str, path: tuple[Step, ...]) -> tuple[tuple[int, int], tuple[int, int]]:
    """(line, column) where the key of the part at `path` begins, and where the part ends; both from 1."""
    node = yaml.compose(text, yaml.BaseLoader)
    begin = node.start_mark
    for step in path:
        if isinstance(node, yaml.MappingNode):
            begin, node = next((key.start_mark, value) for key, value in node.value if key.value == step)
        else:
            node = node.value[step]
            begin = node.start_mark
    return (begin.line + 1, begin.column + 1), (node.end_mark.line + 1, node.end_mark.column + 1)


def assert_shown_in_place(folder: Path, plan: object, path: tuple[Step, ...]) -> bool:
    """Whether the plan is refused, and then for one reason at least that is shown within the part at `path`."""
    text = yaml.dump(plan, allow_unicode=True, sort_keys=False)
    file = folder / "changed.yaml"
    file.write_text(text, "utf-8")
    problems = problems_of(file)
    begin, end = span_of(text, path)
    places = [(problem.line, problem.column) for problem in problems]
    assert not problems or any(begin <= place <= end for place in places), (path, begin, end, problems)
    return bool(problems)


def test_nonsense_in_any_value_is_shown_at_its_place_or_means_something(folder: Path) -> None:
    plan = yaml.load(EVERY_WORD, yaml.BaseLoader)  # noqa: S506 - text only, from this repository
    refused = 0
    for number, path in enumerate(leaves(plan)):
        changed = copy.deepcopy(plan)
        part_at(changed, path[:-1])[path[-1]] = NONSENSE[number % len(NONSENSE)]  # type: ignore[index]
        refused += assert_shown_in_place(folder, changed, path)
    assert refused >= 100


def test_a_key_that_is_none_is_shown_at_its_place_in_every_table(folder: Path) -> None:
    plan = yaml.load(EVERY_WORD, yaml.BaseLoader)  # noqa: S506 - text only, from this repository
    refused = 0
    for path in tables(plan):
        changed = copy.deepcopy(plan)
        part_at(changed, path)["zzz"] = "zzz"  # type: ignore[index]
        refused += assert_shown_in_place(folder, changed, (*path, "zzz"))
    assert refused >= 60
