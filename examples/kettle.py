"""A file written for Reflex, but for the import: python -m actorstate run examples/kettle.py

A background task heats the kettle, and a task of asyncio asks elsewhere which tea to make.
"""

import asyncio

import httpx

import actorstate.reflex as rx

asking: set[asyncio.Task[None]] = set()


class KettleState(rx.State):
    degrees: int = 20
    target: int = 100
    heating: bool = False
    tea: str = ""
    _heaters: int = 0

    @rx.background
    async def heat(self):
        async with self:
            if self._heaters > 0:
                return  # the one that heats already goes on
            self._heaters += 1
        while True:
            async with self:
                self.heating = self.heating and self.degrees < self.target
                if not self.heating:
                    self._heaters -= 1
                    return
                self.degrees = min(self.degrees + 5, self.target)
            await asyncio.sleep(0.5)

    def switch(self):
        self.heating = not self.heating
        return KettleState.heat if self.heating else None

    def pour(self):
        self.degrees = 20

    def choose_tea(self):
        app = rx.utils.prerequisites.get_app().app
        task = asyncio.create_task(ask_for_tea(app, self.get_token()))
        asking.add(task)
        task.add_done_callback(asking.discard)


async def ask_for_tea(app, token: str) -> None:
    async with await asyncio.start_server(recommend, "127.0.0.1") as elsewhere:
        port = elsewhere.sockets[0].getsockname()[1]
        async with httpx.AsyncClient(trust_env=False) as client:
            response = await client.get(f"http://127.0.0.1:{port}/")
    async with app.modify_state(token) as state:
        state.get_substate(KettleState.get_full_name().split(".")).tea = response.text


async def recommend(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stand in for a service elsewhere, so that the example needs no network."""
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nToday: Lapsang Souchong")
    await writer.drain()
    writer.close()


def index() -> rx.Component:
    return rx.vstack(
        rx.heading("Kettle"),
        rx.hstack(
            rx.text(KettleState.degrees, " of", id="degrees"),
            rx.chakra.number_input(
                value=KettleState.target,
                on_change=KettleState.set_target,
                width="8em",
                aria_label="Target",
            ),
            rx.text("°C"),
        ),
        rx.hstack(
            rx.button(rx.cond(KettleState.heating, "Stop", "Heat"), on_click=KettleState.switch),
            rx.button("Pour", on_click=KettleState.pour),
            rx.button("Which tea?", on_click=KettleState.choose_tea),
        ),
        rx.text(KettleState.tea),
    )


app = rx.App()
app.add_page(index, title="Kettle")
