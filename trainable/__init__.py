"""What is one trial? A recipe, a data set of differences, a staged trainer."""
