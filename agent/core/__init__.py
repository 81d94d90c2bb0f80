"""What an agent decides, and nothing it does: no I/O, no clock, no asyncio. Time is an argument."""
