"""Who may call: bearer tokens, kept as hashes in a file that the operator edits."""
