"""A candidate: files beside those in service, tried on the same prompts before a person takes them.

Every request is decided by both, the second time after its answer was sent (the shadow), and a
share of the callers can be given to the candidate (the canary).
"""
