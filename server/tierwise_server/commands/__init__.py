"""The commands that need the server package; each parses its line, acts and prints."""

import os

# Before numpy and faiss are loaded: their thread teams spin while they wait, which costs the
# encoding lanes more than a second thread gains on matrices of this size.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
