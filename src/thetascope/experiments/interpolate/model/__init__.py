"""The path of the whole model: its picture and its words."""
