"""What does TensorBoard show of a run?"""
