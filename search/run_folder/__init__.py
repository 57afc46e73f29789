"""Where is a run, and whose?"""
