"""Tasks: thin Prefect steps over the core."""
