"""One call: what is repeated and why, what an answer means, and aiohttp. Knows limits and events, and no API."""
