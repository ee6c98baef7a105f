"""Graphs, lanes, residency, scenes: what turns a picture and tasks into answers. Start at ``analyzer``."""
