"""One invocation: jobs, grid, search, and what the terminal shows."""
