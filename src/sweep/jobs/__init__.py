"""One job: configuration, inputs, identity, pipeline."""
