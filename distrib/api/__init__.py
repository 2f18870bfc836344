"""The HTTP API: blueprints and marshmallow schemas, a thin skin over the services."""
