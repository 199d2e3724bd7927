"""The house keeps its shape: imports run down, the pure rooms stay pure, pyVoIP stays behind one door."""

from __future__ import annotations

import ast
import fnmatch
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "gateway"

# A room may import rooms of a lower rank; rooms of one rank know nothing of each other.
RANKS = {
    "__init__": 0,
    "errors": 0,
    "located": 0.5,  # reads files for those above, tells their problems as errors
    "sip": 1,
    "media": 1,
    "transport": 2,
    "dialplan": 2,
    "realtime": 3,
    "embedded": 3,
    "calls": 4,
    "records": 4,
    "config": 5,
    "api": 5,
    "simulate": 5,
    "cli": 6,
    "__main__": 7,
}
PURE_ROOMS = ("sip", "media", "dialplan")
IMPURE_MODULES = ("asyncio", "socket", "time", "threading", "select", "selectors", "subprocess")
PYVOIP_DOOR = "sip/vocabulary.py"
TOP_LEVEL = {
    ".ci",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "config",
    "deploy",
    "dialplans",
    "docs",
    "gateway",
    "pyproject.toml",
    "tests",
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(source: str, module: Path) -> Iterator[str]:
    """Dotted names that `source` imports, wherever in the file; `from a import b` gives both `a` and `a.b`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = ("gateway", *module.relative_to(PACKAGE).parts)[: -node.level]
                base = ".".join([*package, base]).rstrip(".")
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def upward_imports(source: str, module: Path) -> list[str]:
    """What `module` imports from rooms that are not below its own."""
    room = room_of(module)
    found = []
    for name in imported_modules(source, module):
        parts = name.split(".")
        if parts[0] != "gateway" or len(parts) < 2 or parts[1] == room or parts[1] not in RANKS:
            continue
        if RANKS[parts[1]] >= RANKS[room]:
            found.append(name)
    return found


def impure_imports(source: str, module: Path) -> list[str]:
    return [name for name in imported_modules(source, module) if name.split(".")[0] in IMPURE_MODULES]


def imports_pyvoip(source: str, module: Path) -> bool:
    return any(name.split(".")[0] == "pyVoIP" for name in imported_modules(source, module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: str(module.relative_to(PACKAGE)))
def test_imports_run_strictly_down(module: Path) -> None:
    assert room_of(module) in RANKS, f"give {room_of(module)} a rank in {Path(__file__).name}"
    assert upward_imports(module.read_text(), module) == []


@pytest.mark.parametrize("room", PURE_ROOMS)
def test_pure_rooms_import_no_clock_socket_or_loop(room: str) -> None:
    found = {str(module): impure_imports(module.read_text(), module) for module in (PACKAGE / room).rglob("*.py")}
    assert {module: names for module, names in found.items() if names} == {}


def test_one_module_imports_pyvoip() -> None:
    assert {m.relative_to(PACKAGE).as_posix() for m in MODULES if imports_pyvoip(m.read_text(), m)} <= {PYVOIP_DOOR}


def test_embedded_server_is_reached_only_from_above() -> None:
    """A call speaks to the embedded server over its WebSocket, as to any other: only commands may import it."""
    users = {
        room_of(module)
        for module in MODULES
        if any(name.startswith("gateway.embedded") for name in imported_modules(module.read_text(), module))
    }
    assert {room for room in users - {"embedded"} if RANKS[room] < RANKS["config"]} == set()


def test_top_level_holds_only_what_was_agreed() -> None:
    ignored = [line.rstrip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines() if line]
    there = {
        entry.name
        for entry in REPOSITORY.iterdir()
        if entry.name != ".git" and not any(fnmatch.fnmatch(entry.name, pattern) for pattern in ignored)
    }
    assert there - TOP_LEVEL == set()


@pytest.mark.parametrize(
    ("module", "source", "expected"),
    [
        ("sip/dialog.py", "from gateway.transport import sip_endpoint", ["gateway.transport"]),
        ("sip/dialog.py", "import gateway.media.rtp", ["gateway.media.rtp"]),
        ("realtime/session.py", "from ..embedded.server import serve", ["gateway.embedded.server"]),
        ("calls/call.py", "def late():\n    from gateway import config", ["gateway.config"]),
        ("calls/call.py", "from gateway.sip.message import Uri\nfrom gateway import errors", []),
    ],
)
def test_the_rank_rule_sees_every_form_of_import(module: str, source: str, expected: list[str]) -> None:
    assert set(expected) <= set(upward_imports(source, PACKAGE / module))
    assert bool(expected) == bool(upward_imports(source, PACKAGE / module))


def test_the_purity_rule_sees_a_clock() -> None:
    assert impure_imports("from time import monotonic", PACKAGE / "sip/dialog.py") != []
    assert impure_imports("from datetime import datetime", PACKAGE / "dialplan/hours.py") == []


def test_the_map_of_the_sip_room_names_every_module() -> None:
    drawing = (PACKAGE / "sip/__init__.py").read_text().partition("::")[2].partition("`")[0]
    modules = {module.stem for module in (PACKAGE / "sip").glob("*.py")} - {"__init__"}
    assert modules - set(re.findall(r"[a-z_]+", drawing)) == set()
