"""The way of all parameters together: its picture and its words."""
