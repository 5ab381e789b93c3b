"""Durable batches: many prompts, each made into a run exactly once, whatever dies meanwhile."""
