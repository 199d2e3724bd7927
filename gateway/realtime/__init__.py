"""Realtime speech models: one vocabulary for all of them (`session`) and one module a provider.

The rest of the gateway knows `session` alone. A provider joins by registering a factory under its name here;
nothing else mentions it.
"""

from gateway.realtime import gemini, openai

openai.register()
gemini.register()
