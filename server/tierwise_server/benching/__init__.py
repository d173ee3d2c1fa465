"""Measures models on sample prompts of each task: quality with intervals, cost and latency.

It knows the catalog, prices and the client library, and nothing of the server.
"""
