"""Fetch something slow, and show it when it is there: python -m actorstate run examples/fetch.py"""

from functools import partial

import httpx
import trio

from actorstate import App, State, button, cond, current_app, heading, text, vstack


class FetchState(State):
    result: str = ""
    fetching: bool = False

    def fetch_data(self):
        self.fetching = True
        app = current_app()
        app.start_soon(fetch_and_show, app, self.get_token())


async def fetch_and_show(app: App, token: str) -> None:
    async with trio.open_nursery() as nursery:
        [slow] = await nursery.start(partial(trio.serve_tcp, answer_slowly, 0, host="127.0.0.1"))
        async with httpx.AsyncClient(trust_env=False) as client:
            try:
                response = await client.get(f"http://127.0.0.1:{slow.socket.getsockname()[1]}/")
                result = response.text
            except httpx.HTTPError as error:
                result = f"It did not work: {error!r}"
        nursery.cancel_scope.cancel()
    async with app.modify_state(token) as state:
        mine = state.get_substate(FetchState.get_full_name().split("."))
        mine.result = result
        mine.fetching = False


async def answer_slowly(stream: trio.SocketStream) -> None:
    """Stand in for a slow service elsewhere, so that the example needs no network."""
    await stream.receive_some()
    await trio.sleep(1)
    body = b"Anything added dilutes everything else."
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def page():
    return vstack(
        heading("Fetch"),
        text(FetchState.result),
        button(
            cond(FetchState.fetching, "Fetching…", "Fetch data"),
            on_click=FetchState.fetch_data,
            disabled=FetchState.fetching,
        ),
    )


app = App()
app.add_page(page, title="Fetch")
