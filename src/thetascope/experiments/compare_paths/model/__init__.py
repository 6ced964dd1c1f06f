"""Two paths of the whole model: their picture and their words."""
