"""The ledger: what was decided, what became of it, and what it cost.

Nothing here knows the contract's messages or gRPC, and importing the package imports no database
library: that happens on the writer's own thread, once there is a ledger to open.
"""
