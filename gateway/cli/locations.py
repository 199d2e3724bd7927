"""Where the trunks of a configuration are at present, for `gateway check`."""

from __future__ import annotations

import asyncio
from random import Random

from gateway.config import Configuration
from gateway.transport.locator import Target, locate_apart
from gateway.transport.resolver import NameServiceError, Resolver
from gateway.transport.sockets import family_of


async def describe_trunks(configuration: Configuration) -> list[str]:
    """A line for each server that has a name: its addresses, or why nobody can tell them at the moment.

    Raises:
        NameServiceError: there is no such name.
    """
    named = {
        target: name
        for name, trunk in configuration.sip.trunks.items()
        for target in trunk.targets
        if family_of(target.host) is None
    }
    locate = locate_apart(Resolver(configuration.resolver_options()), configuration.families)

    async def describe(target: Target) -> str:
        try:
            return ", ".join(str(hop) for hop in (await locate(target, Random(0))).hops)
        except NameServiceError as error:
            if error.is_absent:
                raise
            return f"not known at the moment: {error}"

    found = await asyncio.gather(*map(describe, named))
    return [f"trunk {name}: {target.host}: {what}" for (target, name), what in zip(named.items(), found, strict=True)]
