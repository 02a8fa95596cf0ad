"""Searches: spaces, proposals, pruning, and the run that joins them with worker groups."""
