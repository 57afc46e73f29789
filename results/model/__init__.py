"""Which model came out?"""
