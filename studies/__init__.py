"""One package per paper: ``cells`` (the work), ``claims`` (what is claimed, with its rules) and ``figures``."""
