"""Sessions that outlive their connections: what a call has with a model while providers come and go.

::

    endpoints   one for a process: makes the sessions, knows how each provider is doing (`circuit`)
    session     the connections of a call, one timer, and the order in which one takes another's place
    link        one connection; `link_maker` opens it, in the order of `attempts`
    memory      what outlives a connection: `history` in words, `kept_audio` (`packed_audio`), `tool_calls`, and whose
                turn it is (`floor`)
    vigil       silence of a model that ought to speak; `roll_over`: the end of a session's life
"""
