"""Where do files lie, and are they whole?"""
