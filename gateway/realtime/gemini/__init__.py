"""Gemini Live.

::

    session    SocketSession with the address, the key and the protocol
    protocol   decides, without input or output; `turns`, `replies` and `tools` are parts of it
    codec      messages as JSON; `schema` is what Gemini takes of a tool's JSON Schema; `errors`, verdicts
"""
