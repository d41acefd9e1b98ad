"""What keeps abuse at the door: a module a means: `guard` joins them, compose/guard.py makes it."""
