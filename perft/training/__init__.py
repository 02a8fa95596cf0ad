"""Trains packs of trials on one frozen base, without Ray or MLflow.

`perft.training.pack.Pack` is the only training loop; a trial alone is a pack of one.
"""
