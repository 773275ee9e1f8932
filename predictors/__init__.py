"""Motion predictors, one file each, found by name; ``base`` defines the interface."""
