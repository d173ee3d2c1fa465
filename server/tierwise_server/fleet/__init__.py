"""What the outcomes of all clients tell of the models: who fails, who is slow, who is used up.

Lives in the memory of one server: replicas learn from the outcomes that reach them, and share
nothing.
"""
