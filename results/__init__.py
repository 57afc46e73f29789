"""What came out? The journal, the tables, the evaluation of the best model."""
