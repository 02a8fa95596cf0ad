"""The search as Ray Tune sees it: searcher, scheduler, callback and thin trials."""
