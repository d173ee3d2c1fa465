"""Chooses the model inside the decided tier and plans what to call when it fails.

Pure functions of a registry, a verdict, a request and a view of the fleet. Knows nothing of gRPC,
vectors or files.
"""
