"""The commands, one module each: `perft search` and `jobs/search.py` are `perft.commands.search`.

A module has a `main`, whose parameters are the options and whose docstring is the help. `main`
imports slow libraries only after it has checked its options.
"""
