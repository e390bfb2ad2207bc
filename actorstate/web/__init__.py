"""The web: one port for pages and sockets.

- ``server``      accepts connections, tells upgrades from requests
- ``http``        requests for pages, by HTTP/1.1
- ``answers``     what they get: pages, ``client.js``, ``style.css``, ``/healthz``, ``/readyz``
- ``site``        what an app has for those who connect
- ``admission``   who is let in, and how those who are here are seen out
- ``tokens``      signed, and made here alone
- ``limits``      what is bounded
- ``connection``  one WebSocket attached to a token
- ``protocol``    frames to records and back; ``docs/protocol.md`` in code
- ``client.js``   the other end
"""
