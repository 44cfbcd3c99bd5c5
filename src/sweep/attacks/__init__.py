"""Made data and BadNets trained on it."""
