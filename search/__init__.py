"""What runs next, and where? The command line, the tuner and the searcher."""
