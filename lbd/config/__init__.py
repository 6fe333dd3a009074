"""The configuration: schema, defaults, loading, and error messages. Imports nothing of lbd but `registry`.

Import the part you need (`lbd.config.loader`, `lbd.config.schema`, ...); this file stays empty on purpose,
so that a command that needs no configuration does not pay for pydantic.
"""
