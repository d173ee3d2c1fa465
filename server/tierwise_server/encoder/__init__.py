"""Turns text into unit vectors: the artifact, the excerpt, the encoder, its lanes and caches.

Knows nothing of catalogs, tiers or requests. Import what you need from the modules; only
`build`, `export`, `measure` and `source` need the `encoder` extra.
"""

import os

# From 1.29 on onnxruntime tells its makers about models and machines, unless this is set before it
# is loaded, and keeps a device's id in the user's cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
