"""Holds callers to what they may spend: reported cost, and what calls under way may come to.

Exact within one server. Callers name themselves and report their own calls, so limits guard against
programs that run away, not against people who mean to.
"""
