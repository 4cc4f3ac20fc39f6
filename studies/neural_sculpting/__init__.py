"""Neural sculpting: the hierarchy of a task in what pruning leaves of a network (Patil, Michael & Dovrolis 2023)."""
