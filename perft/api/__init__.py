"""perft from Python: `perft.search`, `perft.results` and what they take and return."""
