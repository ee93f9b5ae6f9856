"""A network's step as a file for other runtimes, and such files as networks."""
