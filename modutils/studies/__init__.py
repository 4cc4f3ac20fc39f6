"""One package per paper: ``cells`` (the work), ``claims`` (verdicts) and ``figures`` (what a chapter shows)."""
