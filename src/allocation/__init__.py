"""An event-driven application in four layers, each of which imports only those to its right:

    entrypoints → bootstrap → views → adapters → service_layer → domain

To read it in an evening, go against the arrows: `domain/model.py`, `domain/events.py`,
`service_layer/handlers.py`, `service_layer/messagebus.py`, `service_layer/unit_of_work.py`,
`service_layer/delivery.py`, then `adapters/unit_of_work.py`, `adapters/outbox.py`, `bootstrap.py`
and `entrypoints/cli`.
"""
