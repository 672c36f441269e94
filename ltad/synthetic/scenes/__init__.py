"""Rendered images of anything: textures, objects, arrays and heaps, with generic flaws."""
