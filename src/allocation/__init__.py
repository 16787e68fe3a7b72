"""An event-driven application in layers, each of which imports only those to its right:

    entrypoints → bootstrap → config → views → adapters → service_layer → domain

Begin with service_layer/handlers.py; docs/README.md of the repository leads on from there.
"""
