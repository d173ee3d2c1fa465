"""Turns logged prompts into proposed utterances and tasks, each with its measured effect.

Knows catalogs, scorers and the ledger; files change in `edits` alone, and only when told.
"""
