"""What writes the pages that say what the code says: `python -m docs.generate`."""
