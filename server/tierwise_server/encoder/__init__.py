"""Turns text into unit vectors: the artifact, the excerpt, the encoder, its lanes and caches.

Knows nothing of catalogs, tiers or requests. Import what you need from the modules; only
`build`, `export`, `measure` and `source` need the `encoder` extra.
"""
