"""How is an image drawn on?"""
