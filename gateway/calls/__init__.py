"""One call: a pure state machine that decides, and one task that carries out what it decided.

::

    manager, brief, facts      who is let in, and what is known of a call when its task starts
    call, course, call_state   the machine; `phases` has its table, `events` what goes in and comes out
    script, stage, `steps`     the dialplan's actions, and those that take their time
    escalating, `escalation`   what the dialplan waits for during a session
    task                       carries out what the machine decides, each by its owner:

    `lines`                    telephone lines: signalling, media, keys, who is still there
    `conversation`             the session a call has, and its bridge to the media
    `speaking`                 what the dialplan itself says and hears
    `transfers`                who may be dialled, every attempt, and what a contact hears of it
    `tools`                    what a model may do besides talking
    step_desk, hook_desk       what steps ask for

    record, transcript, notes  what is remembered of a call
    spending, recording        what it costs, and what of it is recorded

Names in backquotes are packages. The machine and all that is called pure import neither clocks nor sockets.
"""
