"""The sections tools and mcp: what they become, what they are refused for, and that secrets stay secret."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan
from gateway.dialplan.tool_source import HttpSource, McpSource, ToolSource, VerifySource
from gateway.dialplan.tools import CodeCheck, Filler, HttpRequest, McpPlan, SessionTool
from gateway.errors import ConfigurationError
from gateway.located import Section

DOCS = (Path(__file__).resolve().parents[2] / "docs" / "tools.md").read_text("utf-8")
SECRETS = {"ERP_KEY": "hidden-of-the-erp", "PIN": "hidden-pin", "CRM_KEY": "hidden-of-the-crm"}

PLAN = """\
version: 1
name: shop
timezone: UTC
contacts:
  sales: {dial: ["sip:6001"]}
tools:
  lookup_order:
    description: Order status by number
    parameters: {number: {type: string}, deep: {type: boolean}}
    optional: [deep]
    http: {url: "https://erp.example/orders/{number}", headers: {Authorization: "Bearer ${env:ERP_KEY}"}}
  check_pin:
    description: Checks the caller's PIN
    verify: {codes: ["${env:PIN}"]}
  cancel_order:
    description: Cancels an order
    after: verified
    http: {method: POST, url: "https://erp.example/cancel", json: {by: "{caller.number}"}}
mcp:
  crm: {command: crm-server, args: [--quiet], env: {CRM_KEY: "${env:CRM_KEY}"}, tools: [find]}
sessions:
  reception:
    use: default
    tools: [transfer, switch_language, lookup_order, crm]
    languages: [de, fr]
routes:
  - {name: talk, do: [{session: reception}]}
"""

PROBLEMS = [
    ("lookup_order, crm]", "¦lookup_ordr, crm]", "there is no tool 'lookup_ordr' (did you mean 'lookup_order'?)"),
    ("lookup_order, crm]", "lookup_order, ¦crm_fnd]", "there is no tool 'crm_fnd' (did you mean 'crm_find'?)"),
    (
        "languages: [de, fr]",
        "languages: [de, ¦french]",
        "item 2 of 'languages' is 'french' (expected two letters of ISO 639-1, such as de)",
    ),
    (
        "tools: [transfer, switch_language, lookup_order, crm]\n    languages: [de, fr]",
        "tools: [transfer, ¦switch_language]",
        "'switch_language' has no choice (expected languages: [de, en])",
    ),
    (
        "tools: [transfer, switch_language, lookup_order, crm]\n    languages",
        "tools: [transfer]\n    ¦languages",
        "'languages' has no effect without the tool switch_language (expected it in tools)",
    ),
    (
        "  check_pin:",
        "  ¦9lives:",
        "'9lives' is not usable as key (expected letters a to z, digits, - and _, a letter first, at most 48)",
    ),
    ("  check_pin:", "  ¦crm_pin:", "tool 'crm_pin' is named as those of mcp 'crm' (expected another name)"),
    ("  check_pin:", "  ¦hang_up:", "tool 'hang_up' is one that is built in (expected another name)"),
    ("mcp:\n", "mcp:\n  ¦note: {command: x}\n", "mcp 'note' is a tool that is built in (expected another name)"),
    (
        "mcp:\n  crm:",
        "mcp:\n  crm_far: {command: x}\n  ¦crm:",
        "a tool of mcp 'crm' could be named as mcp 'crm_far' (expected another name)",
    ),
    (
        "mcp:\n",
        "mcp:\n  ¦hang: {command: x}\n",
        "a tool of mcp 'hang' could be named as tool 'hang_up' (expected another name)",
    ),
    (
        "    description: Order status by number\n    parameters",
        "    ¦parameters",
        "key 'description' is missing (expected it in 'lookup_order')",
    ),
    (
        '    verify: {codes: ["${env:PIN}"]}\n',
        "",
        "'check_pin' has neither http nor verify (expected exactly one of them)",
    ),
    ('codes: ["${env:PIN}"]', "codes: ¦[]", "'codes' is an empty list (expected at least 1 of them)"),
    ('codes: ["${env:PIN}"]', 'codes: [¦"${env:PINN}"]', "environment variable PINN is not set (export PINN=…)"),
    (
        'codes: ["${env:PIN}"]',
        "codes: [¦12]",
        "item 1 of 'codes' is too short or too long (expected 4 to 32 characters beside spaces and dashes)",
    ),
    (
        "    verify: {codes",
        "    parameters: ¦{code: {type: string}}\n    verify: {codes",
        "'parameters' has no effect with verify (expected none: it takes the code)",
    ),
    (
        'url: "https://erp.example/orders/{number}"',
        'url: ¦"https://{number}/orders"',
        (
            "'url' is no URL whose host is fixed "
            "(expected https://HOST/PATH, arguments in the path or behind ? only, no user@ and no #)"
        ),
    ),
    (
        'url: "https://erp.example/orders/{number}"',
        'url: ¦"https://erp.example/a/../{number}"',
        "'url' holds . or .. in its path (expected the path it leads to)",
    ),
    (
        'url: "https://erp.example/orders/{number}"',
        'url: ¦"https://erp.example/orders/{nummer}"',
        "unknown argument {nummer} (did you mean 'number'?)",
    ),
    (
        'url: "https://erp.example/orders/{number}"',
        'url: ¦"https://erp.example/orders/{deep}"',
        "{deep} is in the path and may be missing (expected it required)",
    ),
    ("optional: [deep]", "optional: [¦depp]", "there is no argument 'depp' (did you mean 'deep'?)"),
    (
        "{number: {type: string}, deep",
        "{number: {type: string}, what: ¦text, deep",
        "argument 'what' has no schema (expected such as {type: string})",
    ),
    (
        "parameters: {number: {type: string}, deep: {type: boolean}}",
        "parameters: ¦{number: {type: strin}, deep: {type: boolean}}",
        (
            "'parameters' is no JSON Schema: properties.number.type: "
            "'strin' is not valid under any of the given schemas (expected JSON Schema 2020-12)"
        ),
    ),
    (
        "parameters: {number: {type: string}, deep",
        'parameters: ¦{number: {pattern: "(a+)+"}, deep',
        (
            "'parameters' is no JSON Schema: the pattern (a+)+ may be slow: it repeats what holds a repetition or a "
            "choice; expected a set such as [ab] (expected JSON Schema 2020-12)"
        ),
    ),
    ("http: {method: POST", "http: {method: ¦FETCH", "'method' is 'FETCH' (did you mean 'PATCH'?)"),
    (
        'http: {method: POST, url: "https://erp.example/cancel", json: {',
        'http: {url: "https://erp.example/cancel", json: ¦{',
        "'json' has no effect with GET (expected method: POST)",
    ),
    (
        "http: {method: POST, ",
        "http: {method: POST, timeout: ¦20s, ",
        "'timeout' is '20s' (expected less than or equal to 10)",
    ),
    (
        "http: {method: POST, ",
        "http: {method: POST, ca_file: ¦ca.pem, ",
        "'ca.pem' is not a file (expected certificates (PEM))",
    ),
    (
        "http: {method: POST, ",
        'http: {method: POST, headers: {¦"X Y": z}, ',
        "'X Y' is not usable as key (expected the name of an HTTP header, such as Authorization)",
    ),
    ("after: verified", "after: ¦verifed", "nothing grants 'verifed' (did you mean 'verified'?)"),
    (
        "after: verified",
        "after: ¦verified\n    grants: verified",
        "the tool grants what it waits for (expected another mark)",
    ),
    (
        "crm: {command",
        'crm: ¦{url: "https://crm.example/mcp", command',
        "'crm' has command and url (expected exactly one of them)",
    ),
    ("args: [--quiet]", "headers: {A: b}", "'crm' has headers beside command (expected no such)"),
]


def load(folder: Path, text: str = PLAN) -> Dialplan:
    (folder / "plan.yaml").write_text(text, "utf-8")
    return load_dialplan(folder / "plan.yaml", SECRETS)


def test_tools_become_what_they_say(tmp_path: Path) -> None:
    plan = load(tmp_path, PLAN.replace("    optional: [deep]", "    optional: [deep]\n    filler: One moment."))
    lookup, pin, cancel = plan.tool_plans.values()
    assert lookup.definition.parameters == {
        "type": "object",
        "properties": {"number": {"type": "string"}, "deep": {"type": "boolean"}},
        "required": ["number"],
        "additionalProperties": False,
    }
    assert isinstance(lookup.run, HttpRequest)
    assert (lookup.run.method, lookup.run.timeout_s, lookup.run.is_idempotent) == ("GET", 4.0, True)
    assert lookup.run.headers == (("Authorization", "Bearer hidden-of-the-erp"),)
    assert lookup.filler == Filler(text="One moment.", after_s=0.7)
    assert (pin.run, pin.grants) == (CodeCheck(codes=("hidden-pin",), tries=3), "verified")
    assert isinstance(cancel.run, HttpRequest)
    assert (cancel.after, cancel.run.is_idempotent) == ("verified", False)
    assert plan.mcp["crm"] == McpPlan(
        name="crm",
        command=("crm-server", "--quiet"),
        environment=(("CRM_KEY", "hidden-of-the-crm"),),
        folder=tmp_path,
        tools=("find",),
    )


def test_whole_schema_is_taken_as_it_is(tmp_path: Path) -> None:
    schema = "{type: object, properties: {number: {type: string}}, required: [number]}"
    text = PLAN.replace("{number: {type: string}, deep: {type: boolean}}\n    optional: [deep]", schema)
    assert load(tmp_path, text).tool_plans["lookup_order"].definition.parameters == {
        "type": "object",
        "properties": {"number": {"type": "string"}},
        "required": ["number"],
    }


def test_secrets_are_in_no_representation(tmp_path: Path) -> None:
    text = repr(load(tmp_path))
    assert [secret for secret in SECRETS.values() if secret in text] == []


@pytest.mark.parametrize("broken", ["timeout: soon", "method: FETCH", "json: {a: '{x}'}", "query: [1]"])
def test_secrets_are_in_no_problem(tmp_path: Path, broken: str) -> None:
    text = PLAN.replace("headers: {Authorization", f"{broken}, headers: {{Authorization")
    text = text.replace("Bearer ${env:ERP_KEY}", "\u00fc ${env:ERP_KEY}")
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text)
    assert "hidden" not in str(refused.value)


def test_secrets_are_put_into_tools_and_mcp_alone(tmp_path: Path) -> None:
    plan = load(tmp_path, PLAN.replace("    languages:", "    greeting: ${env:ERP_KEY}\n    languages:"))
    assert plan.sessions["reception"].greeting == "${env:ERP_KEY}"


@pytest.mark.parametrize(("old", "new", "message"), PROBLEMS)
def test_each_problem_is_reported_at_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert PLAN.count(old) == 1
    text = PLAN.replace(old, new)
    place = r"\d+:\d+"
    if "¦" in new:
        before = text[: text.index("¦")]
        place = f"{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    with pytest.raises(ConfigurationError) as refused:
        load(tmp_path, text.replace("¦", ""))
    problems = [str(problem).replace(f"{tmp_path}/", "") for problem in refused.value.problems]
    assert any(re.fullmatch(f"plan.yaml:{place}: {re.escape(message)}", problem) for problem in problems), problems
    assert len(problems) == 1, problems


@pytest.mark.parametrize("code", ["----", "- - -", "1 - 2 - 3"])
def test_code_is_as_long_as_what_counts_of_it(tmp_path: Path, code: str) -> None:
    with pytest.raises(ConfigurationError, match="too short"):
        load(tmp_path, PLAN.replace("${env:PIN}", code))


def test_the_documentation_shows_every_problem_once() -> None:
    documented = [line.split(": ", 1)[1] for line in DOCS.splitlines() if line.startswith("plan.yaml:")]
    assert sorted(documented) == sorted(message for _, _, message in PROBLEMS)


def test_the_example_of_the_documentation_is_a_plan(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
    (tmp_path / "plan.yaml").write_text(example, "utf-8")
    plan = load_dialplan(tmp_path / "plan.yaml", {"SHOP_PIN": "1234", "ERP_KEY": "k", "CRM_KEY": "k", "STOCK_KEY": "k"})
    assert [*plan.tool_plans, *plan.mcp] == ["check_pin", "lookup_order", "cancel_order", "crm", "stock"]
    assert plan.contacts["manager"].confirm


@pytest.mark.parametrize("model", [ToolSource, HttpSource, VerifySource, McpSource])
def test_the_documentation_names_every_key(model: type[Section]) -> None:
    keys = {info.alias or name for name, info in model.model_fields.items()}
    assert {key for key in keys if f"`{key}`" not in DOCS and f"## {key}" not in DOCS} == set()


def test_the_documentation_names_every_built_in_tool() -> None:
    assert re.findall(r"^\| `(\w+)` \| ", DOCS.partition("## Every tool")[0], re.MULTILINE) == [
        tool.value for tool in SessionTool
    ]
