"""The inspector's desk: batches of pictures, decisions that are never lost, what follows from them.

``records`` says what is kept, ``database`` keeps it, ``batch`` scores it, ``thresholds`` and
``feedback`` draw conclusions from what people decided.
"""
