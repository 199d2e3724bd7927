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

EVERY_WORD = """\
version: 1
name: every
timezone: Europe/Berlin
use: default
language: de
lists:
  vip: ["+4930123*", "6*"]
hours:
  office: {mon-fri: "09:00-17:30", 2026-12-23: ["09:00-12:00"], except: [2026-12-24..2026-12-26]}
  late: {mon-fri: "20:00-23:00"}
  early: {sun: "06:00-07:00"}
contacts:
  sales: {dial: ["sip:6001"], when: office, else: night}
  standby: {dial: ["sip:6009"], when: early}
  desk:
    dial: ["6001"]
    trunk: pbx
    confirm: dtmf
    accept: {key: "1", refuse: "3", wait: 8s}
    summary: [whisper, header, webhook]
    webhook: {url: "https://crm.example/calls"}
    quota: {per_call: 2, per_hour: 10}
    music: closed.wav
  line: {pattern: "/[1-7][0-9]{3}/", description: An extension}
  queue: {dial: ["sip:700"]}
mailboxes:
  night:
    say: "Leave a message for {called.number}."
    beep: true
    limit: 2m
    silence: 4s
    transcript: true
    notify:
      - webhook: {url: "https://crm.example/messages"}
      - email: {to: [a@b.example], subject: Message, attach: true}
sessions:
  reception:
    use: default
    protect: ["You, {caller.name}, hear a machine."]
    instructions: "We are {hours.office}. Order {vars.order}."
    tools: [transfer, switch_language]
    languages: [de, fr]
    limits: {minutes: 20}
routes:
  - name: canary
    match: {from: "@vip", name: "Bob*", split: 20%, seen: 30d, language: [de], diversion: "+4930*"}
    do: [{session: reception}]
  - name: menu
    match: {to: "7000"}
    do:
      - ring: 2s
      - answer: true
      - wait: 500ms
      - say: {text: Hear this., protect: true}
      - play: {file: closed.wav, protect: true}
      - tone: beep
      - tone: {name: busy, for: 2s}
      - set: {who: "{caller.name}"}
      - menu:
          say: "Press one, {vars.who}."
          1: [{transfer: sales}, {voicemail: night}]
          2:
            - collect: {say: "Order?", into: order, digits: 4-6, end: "#", wait: 3s, tries: 2, failed: [{goto: menu2}]}
            - hook: {url: "https://erp.example/{vars.order}", sets: [state], failed: [{say: Sorry.}]}
            - session: reception
          3: [{transfer: {to: line, number: "{vars.order}"}}]
          "#": [{queue: queue}]
          words: {1: [sales, buying], 2: order}
          other: [{callback: {mailbox: night, number: "{caller.number}"}}, {hang_up: true}]
          timeout: [{goto: menu2}]
          wait: 4s
          tries: 3
  - {name: menu2, match: {to: "7001"}, do: [{say: Bye.}, {callback: night}, {hang_up: true}]}
escalations:
  - {name: zero, when: {dtmf: "0", from: "@vip", hours: office, session: reception, to: 7*}, do: [{transfer: desk}]}
  - {name: asked, when: {said: [human, real person]}, do: [{transfer: desk}]}
  - {name: fails, when: {failed_tools: 2}, do: [{transfer: desk}]}
  - {name: again, when: {repeats: 3}, do: [{tell: "They repeat themselves."}]}
  - {name: silent, when: {silence: 25s}, do: [{say: "Still there?"}, {hang_up_after: 15s}]}
  - {name: deaf, when: {not_understood: 3}, do: [{answers: short}]}
  - {name: long, when: {minutes: 10}, do: [{goto: menu2}]}
  - {name: dear, when: {cost_over: 0.80}, do: [{transfer: desk}]}
  - {name: most, when: {budget: 80%}, do: [{answers: short}]}
  - {name: tongue, when: {language: [fr]}, do: [{transfer: desk}]}
  - {name: anger, when: {sentiment: [angry]}, do: [{transfer: desk}]}
  - {name: down, when: {provider_down: true}, do: [{reject: 503}]}
  - {name: advised, when: {webhook: {url: "https://judge.example/"}}, do: [{transfer: desk}]}
tests:
  - call: {to: "7000", from: "+49301", at: "2026-11-20T10:00", seen: true, language: de, diversion: "1"}
    then:
      - dtmf: "9"
      - dtmf: "2"
      - digits: "1234#"
      - hook: {do: [{say: Found.}], set: {state: sent}}
      - said: a human please
      - transfer: busy
      - silence: 30s
      - timeout: true
    expect: {route: menu, say: "Still there?", hang_up: true, vars: {order: "1234", state: sent}}
  - name: spoken
    call: {to: "7000", at: "2026-11-20T10:00"}
    dialogue: [{hear: hello}, {say: hi}, {expect: {route: menu}}]
    contacts: {sales: busy}
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
