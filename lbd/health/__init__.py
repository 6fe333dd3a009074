"""How endpoints and clusters are found to be well or ill: active checks, passive checks, circuit breakers."""
