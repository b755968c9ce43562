"""Schedules: what one says, when it is due, and what follows from that. Pure, but for the file."""
