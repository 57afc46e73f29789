"""How is a recipe trained, kept and gone on with?"""
