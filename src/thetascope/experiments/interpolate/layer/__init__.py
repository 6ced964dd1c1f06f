"""The paths of single layers: their picture and their words."""
