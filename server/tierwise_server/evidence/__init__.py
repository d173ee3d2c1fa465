"""Owns evidence as it stands in files: labelled outcomes, one JSON object a line.

It knows nothing of catalogs, of vectors' meaning and of deciding.
"""
