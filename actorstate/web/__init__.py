"""The web: one port for pages and sockets.

- ``server``      accepts connections, tells upgrades from requests
- ``http``        answers GET: pages, ``client.js``, ``style.css``, ``/healthz``
- ``connection``  one WebSocket attached to a token
- ``protocol``    frames to records and back; ``docs/protocol.md`` in code
- ``client.js``   the other end
"""
