"""Imputers and detectors: one file each, found by name; ``base`` says what they implement."""
