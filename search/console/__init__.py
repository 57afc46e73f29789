"""What does a person see of it?"""
