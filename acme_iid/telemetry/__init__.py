"""What the server tells of itself: reports of what was committed, numbers, and how Prometheus reads them.

It knows no store and no web: what is above says what happened, and whoever wants to know listens.
"""
