"""Replays of searches on recorded trials."""
