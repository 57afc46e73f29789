"""Which model is it, and how is it loaded, frozen and scored?"""
