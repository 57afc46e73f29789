"""What may vary? Define-by-run functions that turn an Optuna trial into a recipe."""
