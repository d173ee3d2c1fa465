"""Fits a catalog's thresholds and confidence to labelled prompts, with honest error bars.

Works on plain values: what each prompt scored, and what was expected of it. Reading, embedding and
writing are left to `commands.calibrate`. The serving process needs `binding` alone.
"""
