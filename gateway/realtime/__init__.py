"""Realtime speech models: one vocabulary for all of them (`session`) and one module a provider.

The rest of the gateway knows `session` alone. A provider joins by registering a factory under its name here, or from
a package of its own by an entry point (`provider_registry`); nothing else mentions it.
"""

from gateway.realtime.openai import session as openai
from gateway.realtime.session import register_provider

openai.register()
register_provider("gemini", "gateway.realtime.gemini.session:GeminiSession")
register_provider("openai_live", "gateway.realtime.openai_live.session:OpenAILiveSession")
