"""The Middesk dialect."""
