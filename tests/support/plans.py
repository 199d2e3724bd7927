"""Dialplans for tests: a small one that uses every word, and a way to write and load plans."""

from __future__ import annotations

import wave
from pathlib import Path

from gateway.dialplan.load import load_dialplan
from gateway.dialplan.model import Dialplan

PLAN = """\
version: 1
name: acme
timezone: Europe/Berlin
hours:
  office: {mon-fri: "09:00-17:30", sat: ["10:00-12:00", "13:00-14:00"], except: [2026-12-24..2026-12-26]}
contacts:
  sales: {dial: ["sip:6001"], when: office, else: desk, description: Orders}
  desk: {dial: ["6001", "tel:+49-30-1234"], ring: 15s}
sessions:
  reception:
    use: default
    greeting: Hello.
    instructions: You are {dialplan.name}.
    tools: [transfer, hang_up]
routes:
  - name: blocked
    match: {from: [anonymous, "+4990*"]}
    do: [{reject: 603}]
  - name: day
    match: {to: "7000", hours: office, trunk: pbx, header: {X-Queue: "gold*"}}
    do: [{transfer: sales}, {session: reception}]
  - name: closed
    match: {to: "/7[0-9]{3}/"}
    do: [{play: closed.wav}, {hang_up: true}]
escalations:
  - {name: zero, when: {dtmf: "0"}, do: [{transfer: desk}]}
  - {name: down, when: {provider_down: true}, do: [{reject: {code: 503, reason: Busy}}]}
tests:
  - name: a day
    call: {to: "7000", from: "+49301", at: "2026-11-20T10:00", trunk: pbx, header: {X-Queue: gold}}
    then: [{dtmf: "0"}]
    expect: {route: day, transfer: desk}
"""

TOOLS_PLAN = """\
version: 1
name: shop
timezone: UTC
contacts:
  sales: {dial: ["sip:6001"], confirm: true}
tools:
  lookup:
    description: Order status by number
    parameters: {number: {type: string, pattern: "^[0-9]+$"}, deep: {type: boolean}}
    optional: [deep]
    http:
      url: "https://erp.example/orders/{number}?by={caller.number}"
      query: {deep: "{deep}"}
      headers: {Authorization: Bearer}
      result: order.0
      result_schema: {type: string}
    filler: One moment.
    filler_after: 1s
  pin: {description: Checks the PIN, verify: {codes: ["1234"], tries: 2}, grants: known}
  cancel:
    description: Cancels an order
    after: known
    http: {method: POST, url: "https://erp.example/cancel", json: {by: ["{call.id}", 1]}, timeout: 2s, retries: 0}
mcp:
  crm: {command: crm, args: [-q], env: {A: b}, tools: [find]}
  far: {url: "https://mcp.example/", headers: {A: b}, timeout: 1s, after: known}
sessions:
  reception: {use: default, tools: [transfer, switch_language, lookup, pin, cancel, crm_find, far], languages: [de, en]}
routes:
  - {name: talk, do: [{session: reception}]}
"""


def write_sound(file: Path, rate_hz: int = 8000, channels: int = 1, sample_bytes: int = 2) -> None:
    """Write a short WAV file."""
    with wave.open(str(file), "wb") as sound:
        sound.setnchannels(channels)
        sound.setsampwidth(sample_bytes)
        sound.setframerate(rate_hz)
        sound.writeframes(bytes(100 * channels * sample_bytes))


def write_plan(folder: Path, text: str = PLAN) -> Path:
    """Write a plan, and the sound that `PLAN` plays, into `folder`."""
    write_sound(folder / "closed.wav")
    file = folder / "plan.yaml"
    file.write_text(text, encoding="utf-8")
    return file


def load_plan(folder: Path, text: str = PLAN) -> Dialplan:
    """The plan that `text` describes. Raises: ConfigurationError."""
    return load_dialplan(write_plan(folder, text))
