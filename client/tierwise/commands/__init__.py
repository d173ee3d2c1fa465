"""Commands that talk to a router, on a server or in this process."""
