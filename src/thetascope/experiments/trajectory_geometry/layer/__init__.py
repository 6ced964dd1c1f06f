"""The way of each layer by itself: its picture and its words."""
