"""Ways to the runs of a store: MLflow's client, and its SQLite database in place."""
