"""Trains packs of trials on one frozen base. No Ray and no MLflow here.

`perft.training.pack.Pack` is the one training loop; a trial alone is a pack of one.
"""
