"""What half precision changes in a model's answers to the user's own photos."""
