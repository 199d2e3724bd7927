"""Fuzz the parsers with atheris: ``python -m tests.fuzz [--seconds N] [target ...]``, each in a process of its own.

Inputs that reach new code are kept in build/fuzz/<target>/corpus, findings in build/fuzz/<target>/. A finding is run
again by ``python -m tests.fuzz --replay FILE target``.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.mutation import TOKENS
from tests.fuzz.targets import NAMES, load

BUILD = Path("build") / "fuzz"
LONGEST_INPUT_BYTES = 8192
LONGEST_RUN_S = 2
"""libFuzzer counts whole seconds, and instrumented Python is ten times as slow as in service."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", choices=[[], *NAMES], metavar="target", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--replay", type=Path, help="run one file through the target, without atheris")
    arguments = parser.parse_args()
    names = arguments.targets or NAMES
    if arguments.replay:
        load(names[0]).fuzz(arguments.replay.read_bytes())
        return 0
    if arguments.inside:
        _run_inside(names[0], arguments.seconds)
        return 0
    return max([_run(name, arguments.seconds) for name in names])


def _run(name: str, seconds: int) -> int:
    """Fuzz one target in a process of its own, tell how it went; 1 where there is a finding."""
    (BUILD / name).mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz", name, "--inside", "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    elapsed_s = time.monotonic() - began
    found = re.findall(r"stat::number_of_executed_units: *(\d+)", done.stderr) or re.findall(
        r"^#(\d+)", done.stderr, re.MULTILINE
    )
    runs = int(found[-1]) if found else 0
    is_clean = done.returncode == 0
    verdict = "clean" if is_clean else f"FINDING: see {BUILD / name}"
    print(f"{name:16} {runs:>9} runs {runs / elapsed_s:>7.0f}/s {elapsed_s:>5.0f} s  {verdict}", flush=True)  # noqa: T201
    if not is_clean:
        (BUILD / name / "last.log").write_text(done.stderr + done.stdout, encoding="utf-8")
        print("\n".join((done.stderr + done.stdout).splitlines()[-40:]), flush=True)  # noqa: T201
    return 0 if is_clean else 1


def _run_inside(name: str, seconds: int) -> None:
    import atheris  # of the extra `fuzz`: who replays a finding need not have it

    with atheris.instrument_imports(include=["gateway"]):
        target = load(name)
    folder = BUILD / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in target.SEEDS:
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    words = folder / "words"
    words.write_text("".join(f'"{_escaped(token)}"\n' for token in TOKENS), encoding="ascii")
    options = {
        "max_total_time": seconds,
        "max_len": LONGEST_INPUT_BYTES,
        "timeout": LONGEST_RUN_S,
        "rss_limit_mb": 1024,
        "print_final_stats": 1,
        "artifact_prefix": f"{folder}/",
        "dict": words,
    }
    atheris.Setup([name, str(corpus), *(f"-{key}={value}" for key, value in options.items())], target.fuzz)
    atheris.Fuzz()


def _escaped(token: bytes) -> str:
    return "".join(f"\\x{octet:02x}" for octet in token)


if __name__ == "__main__":
    sys.exit(main())
