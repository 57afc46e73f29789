"""How is text read and shown?"""
