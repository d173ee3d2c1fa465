"""The commands that need the server package; each parses its line, acts and prints."""

import os

# Before numpy and faiss are loaded: their thread teams spin while they wait, which costs the
# encoding lanes more than a second thread gains on matrices of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# gRPC writes lines of its own to standard error, in a format of its own, beside the exceptions
# that it raises for the same events.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
