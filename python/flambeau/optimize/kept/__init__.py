"""What outlives a process: a private store, and what an entry in it depends on."""
