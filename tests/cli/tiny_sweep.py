"""Options that make a preset a sweep of seconds."""

TINY = "--noise 0.2 0.4 --n-train 20 60 --members 2 --steps 5 --probes 50 --no-progress".split()
