"""The realtime server that needs no key: OpenAI Realtime GA on loopback, with speech engines that fit in a wheel.

It exists so that a telephone can be answered by voice on any machine, and so that the default run goes through the same
provider code as production: the gateway reaches it only over its WebSocket. It is a menu with a voice, not a
conversation: it understands the phrases of its brain file (`brains/reception.yaml`) and asks back about all else.

::

    WebSocket ── server ── Conversation (sans-IO) ── protocol, session, items
                    │            │ tasks
                    └── Engines ─┼─ SpeechJudge        int16[256] 8 kHz  -> probability of speech, all sessions at once
                                 └─ worker processes:  recognizer  int16[n] 8 kHz  -> text of the grammar, or nothing
                                                       voice       sentence        -> audio in the wire format

The heavy engines live in child processes: neither a decoder that holds the interpreter's lock for 40 ms nor a crash in
C code may touch the loop that serves the sockets.
"""
