"""What is done once, for all who need it?"""
