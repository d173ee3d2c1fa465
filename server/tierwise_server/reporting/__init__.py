"""The report on what routing did, cost and saved, made from the ledger.

`ledger_source` asks the ledger and gives typed rows; `calls`, `rates`, `shuffle` and `paying` make
figures of them as pure functions; `report` puts them together; the `render_*` modules show them.
"""
