"""Predictors of the motion that follows: one file each, found by name; see ``base``."""
