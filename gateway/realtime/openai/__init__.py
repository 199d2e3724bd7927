"""OpenAI Realtime (GA), and whoever else speaks its protocol, each in a dialect of its own.

::

    session    SocketSession with the address, the key and the protocol of a dialect
    protocol   decides, without input or output; `response_queue`, `hosted_tools` and `event_tables` are parts of it
    codec      events as text, audio first of all; `session_object` is what a session is asked to be; `errors`, verdicts
    dialects   what each vendor does otherwise, as a table; `edge` and `translated` turn it into OpenAI's words and back
"""
