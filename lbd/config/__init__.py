"""The configuration: schema, defaults, loading, and error messages. Imports nothing of lbd but `registry`.

Import the part you need (`lbd.config.loader`, `lbd.config.schema`, ...); this file imports nothing of it, so
that a command that needs no configuration does not pay for pydantic.
"""

import os

# looking for plugins of pydantic in all that is installed takes a tenth of the time that lbd needs to start
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
