"""OpenAI Live (GPT-Live), a model that listens and speaks at once.

::

    session    SocketSession with the address, the key and the protocol
    protocol   decides, without input or output; `delegation` is how its tools are run
    codec      events as text
    turns      finds turns in what has none, by loudness (`loudness`) and by the pauses between words
"""
