"""The operator's configuration: file < environment < flags, into the Options of the packages that use them.

The models here say how the file looks and what it may hold; defaults come from the Options, where they are used. A
value may hold ``${env:NAME}`` or ``${file:/path}``; what is put in is never shown in a message. In the environment
``GATEWAY__SECTION__KEY`` takes the place of a key of the file (``GATEWAY__SIP__TRUNKS__PBX__REGISTRAR``; lists in
YAML's flow form).

::

    file <- environment <- flags -> substitution -> Configuration -> user_agent_options(), session_options(), …

Raises: ConfigurationError, with every problem at its line and column.
"""

from gateway.config.file import Configuration
from gateway.config.reading import load_configuration

__all__ = ["Configuration", "load_configuration"]
