"""What the gateway itself says: whole in each shipped language, and the plan's own where it has any."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from gateway.dialplan.own_phrases import ENGLISH, NEEDED, PLACES, SHIPPED, OwnPhrases, filled
from gateway.errors import ConfigurationError
from tests.support.plans import load_plan

PLAN = """
version: 1
name: words
timezone: UTC
language: tr
contacts:
  desk: {dial: [sip:6001]}
mailboxes: {night: {}}
routes: [{name: all, do: [{transfer: desk}, {hang_up: true}]}]
"""
WARM = PLAN.replace("[sip:6001]", "[sip:6001], mode: warm")
OF_A_WARM_CONTACT = 'call_from: x, withheld: x, keys: "{key}", message: "{text}", said: "{text}"'


@pytest.mark.parametrize("language", SHIPPED)
def test_each_shipped_phrase_has_all_its_places_and_no_other(language: str) -> None:
    for name, phrase in asdict(SHIPPED[language]).items():
        places = {place: f"<{place}>" for place in PLACES.get(name, ())}
        text = filled(phrase, **places)
        assert "{" not in text
        assert all(place in text for place in places.values()), (name, phrase)
        assert phrase == phrase.strip() != ""
        assert language == "en" or name in ("star", "message") or phrase != getattr(ENGLISH, name)
    assert set(NEEDED) <= set(PLACES) <= set(asdict(ENGLISH))


def test_keys_are_named() -> None:
    german = SHIPPED["de"]
    assert (german.key("#"), ENGLISH.key("*"), ENGLISH.key("1")) == ("Rautetaste", "star", "1")


def test_what_is_filled_in_is_never_looked_at_again() -> None:
    assert filled("{{key}} {key}, {other}", key="{key}{{x}}", other="}") == "{key} {key}{{x}}, }"


def test_a_plan_has_the_phrases_of_its_language_and_its_own_in_their_place(tmp_path: Path) -> None:
    french = load_plan(tmp_path, PLAN.replace("tr", "fr", 1) + "phrases: {hash: touche dièse, keys: 'Prenez : {key}'}")
    assert french.phrases == OwnPhrases(**{**asdict(SHIPPED["fr"]), "hash": "touche dièse", "keys": "Prenez : {key}"})


def test_doubled_braces_are_single_ones_in_phrases_without_places_too(tmp_path: Path) -> None:
    plan = load_plan(tmp_path, PLAN + "phrases: {callback: 'Call {{me}}.', call_from: '{{Call}} from {caller}.'}")
    assert plan.phrases.callback == "Call {me}."
    assert filled(plan.phrases.call_from, caller="{{x}}") == "{Call} from {{x}}."


@pytest.mark.parametrize(
    ("plan", "missing"),
    [
        (PLAN, []),
        (WARM, ["call_from", "withheld", "keys", "message", "said"]),
        (WARM + "phrases: {call_from: x, withheld: x}", ["keys", "message", "said"]),
        (
            WARM.replace("mode: warm", 'accept: {key: "#", refuse: "*"}') + f"phrases: {{{OF_A_WARM_CONTACT}}}",
            ["star", "hash"],
        ),
        (WARM + f"phrases: {{{OF_A_WARM_CONTACT}}}", []),
        (PLAN.replace("[sip:6001]", "[sip:6001], mode: attended, summary: [header]"), ["message", "said"]),
        (
            PLAN.replace("{transfer: desk}", "{menu: {1: [{callback: night}]}}"),
            ["callback", "callback_withheld", "callback_invalid"],
        ),
        (WARM.replace("tr", "sv", 1), []),
    ],
)
def test_a_language_without_phrases_needs_those_that_the_plan_makes_use_of(
    tmp_path: Path, plan: str, missing: list[str]
) -> None:
    if not missing:
        load_plan(tmp_path, plan)
        return
    with pytest.raises(ConfigurationError) as refused:
        load_plan(tmp_path, plan)
    [problem] = refused.value.problems
    assert (problem.line, problem.message) == (5, "'language' is 'tr', which the gateway does not speak")
    wanted = ", ".join(f"{name}: ..." for name in missing)
    assert problem.expected == f"expected phrases: {{{wanted}}}, or one of {', '.join(SHIPPED)}"
