"""The seam to transformers: finding MoE blocks in a base, and loading bases."""
