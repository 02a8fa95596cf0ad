"""Search spaces, one module per task family; each has a module-level `SPACE`."""
