"""An event-driven application in four layers, each of which imports only those to its right:

    entrypoints → bootstrap → views → adapters → service_layer → domain

README.md says what to read first, in which order.
"""
