"""What is known of a provider before anything is configured.

Each adapter's module names the providers that it serves in `KNOWN`, a tuple.
"""

from __future__ import annotations

from dataclasses import dataclass

from tierwise.providers.base import Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownProvider:
    """A provider that models can name."""

    provider_id: str
    """Its name in a registry of models."""
    provider: Provider
    """Its adapter."""
    base_url: str
    """Where it serves, without a slash at the end. Empty where only the caller knows."""
    key_variable: str
    """Environment variable that its own documentation keeps the key in. Empty if none is needed."""
    base_url_variable: str = ""
    """Environment variable that the provider's own SDK reads another address from, where it means
    the same there as here. Empty where there is none."""
