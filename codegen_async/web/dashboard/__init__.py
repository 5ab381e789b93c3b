"""A page that shows a batch while it runs: three static files, and what they ask for."""
