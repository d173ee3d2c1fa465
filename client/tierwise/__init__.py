"""Client library of Tierwise: asks the router which model tier should answer a prompt.

Importing it costs next to nothing: no numpy, no model, no connection. The messages and stubs of
the gRPC contract are in `tierwise.v1`.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("tierwise")
"""Version of the installed distribution."""
