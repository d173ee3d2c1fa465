"""From a model of the registry to the contract's message."""

from __future__ import annotations

from tierwise.v1 import model_pb2
from tierwise_server.catalog.registry import Capability, Model

_CAPABILITIES = {one: model_pb2.Capability.Value(f"CAPABILITY_{one.name}") for one in Capability}


def model_message(model: Model) -> model_pb2.Model:
    """Returns a model as callers see it."""
    message = model_pb2.Model(
        model_id=model.id,
        provider_id=model.provider,
        upstream_name=model.name,
        tier_id=model.tier,
        context_window_token_count=model.context_window,
        output_limit_token_count=model.max_output_tokens,
        capabilities=sorted(_CAPABILITIES[one] for one in model.capabilities),
        labels=model.labels,
        base_url=model.base_url or "",
        quality=model.quality,
        request_limit_per_minute=model.limits.requests_per_minute,
        token_limit_per_minute=model.limits.tokens_per_minute,
    )
    return message
