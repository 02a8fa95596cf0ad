"""Worker groups: standing Ray Train runs that hold one base each and train packs of trials."""
