"""Commands that talk to a router, on a server or in this process."""

import os

# Before grpc is loaded: it writes lines of its own to standard error, in a format of its own,
# beside the exceptions that it raises for the same events.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
