"""perft: search for the best parameter-efficient fine-tuning of a Mixture-of-Experts model.

Importing this package imports neither torch nor Ray: processes that only pass
configurations around (the search driver, the thin Tune trials) stay small.
"""

__version__ = "0.1.0"
