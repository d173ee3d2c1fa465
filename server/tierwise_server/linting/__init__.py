"""Looks at a faultless catalog as a reviewer would: what weakens it, where, and what to do.

Knows catalogs, vectors and scorers; knows nothing of commands, servers or gRPC.
"""
