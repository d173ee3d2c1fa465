"""Measures how steady decisions are under changes that should not matter.

Knows queries and decisions; knows nothing of files, servers or gRPC.
"""
