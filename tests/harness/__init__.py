"""The test harness: a whole lbd process (lbd), endpoints that misbehave on cue (origin), endpoints that
follow the RFCs (http_origin), a raw client (client), message builders (messages) and the one way to wait
for something (waiting). Nothing in here imports lbd: it drives the program from outside."""
