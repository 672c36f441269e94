"""Rendered pictures of anything: textures, objects, arrays and heaps, with generic flaws."""

from ltad.data.scenes.render import RenderedScene, render_scene

__all__ = ["RenderedScene", "render_scene"]
