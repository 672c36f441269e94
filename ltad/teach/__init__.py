"""Teaching the detector new parts from a few good pictures.

``intake`` takes pictures in, ``pictures`` keeps them, ``oddities`` warns about them, ``lessons``
holds what belongs to one model, ``jobs`` trains it in a process of its own, ``figures`` says what
it is worth, ``compare`` sets two models side by side.
"""
