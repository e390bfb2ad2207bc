"""The web: one port for pages and sockets.

- ``server``      accepts connections, tells upgrades from requests
- ``asgi``        the way in by another server, inside another application
- ``http``        requests for pages, by HTTP/1.1
- ``answers``     what they get: pages, ``client.js``, ``style.css``, ``/healthz``, ``/readyz``
- ``site``        what an app has for those who connect
- ``admission``   who is let in, and how those who are here are seen out
- ``origins``     whose pages may open a socket
- ``peers``       who is at the other end, and which proxies are believed
- ``tokens``      signed, and made here alone
- ``limits``      what is bounded
- ``sparse_log``  what strangers may do is a line now and then
- ``streams``     the bytes that it is read from
- ``connection``  one WebSocket attached to a token
- ``outbox``      what it has not been sent yet: one patch at most
- ``pulse``       when it is asked for a sign, and when it is left
- ``rate``        how much it may send
- ``in_flight``   how much of that may be on its way
- ``protocol``    frames to records and back; ``docs/protocol.md`` in code
- ``client.js``   the other end
"""
