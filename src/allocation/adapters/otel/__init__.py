"""The room "otel": traces, by OpenTelemetry. One for each story, over processes and days.

Importing this package imports nothing of OpenTelemetry: that waits until an exporter is asked for.
"""
