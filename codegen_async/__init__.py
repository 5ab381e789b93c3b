"""Asyncio-first, typed client for hosted agent runs."""
