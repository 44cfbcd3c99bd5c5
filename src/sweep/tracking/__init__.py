"""The only folder that knows MLflow: stores, runs, and the schema of its SQLite database."""

import os

# MLflow reads these when it is imported. It would report usage to its makers, look for git where
# there may be none, and print progress and addresses past the log.
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Seconds instead of minutes between its own retries: `Retrying` waits longer, and selectively.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}.items():
    os.environ.setdefault(_name, _value)
