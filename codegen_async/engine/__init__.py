"""Batches on a durable engine: several machines share the items, and any of them may die."""
