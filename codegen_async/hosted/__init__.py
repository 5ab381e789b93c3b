"""What the clients of all APIs of hosted runs share. Knows calls and waits, and no API."""
