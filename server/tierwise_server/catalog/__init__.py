"""Owns the catalog: from the files that operators edit to one immutable, checked value.

It knows nothing of vectors, of deciding and of the wire.
"""
