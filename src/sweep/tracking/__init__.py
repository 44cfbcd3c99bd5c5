"""MLflow and its SQLite schema, known here and nowhere else."""
