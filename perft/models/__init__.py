"""The interface to transformers: finds MoE blocks in a base, and loads bases."""
