"""On which machines does it run?"""
