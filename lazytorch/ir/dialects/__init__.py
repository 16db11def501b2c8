"""The dialects. Importing this package declares every operation."""
