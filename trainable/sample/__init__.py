"""The embedded default: a data set made by code and a checkpoint trained on other made-up scenes."""
