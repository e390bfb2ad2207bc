"""Start, stop and reset a counter that a background task moves, with a limit to change live.

python -m actorstate run examples/background_task.py
"""

import trio

from actorstate import App, State, background, button, cond, heading, hstack, number_input, vstack


class MyTaskState(State):
    counter: int = 0
    max_counter: int = 10
    running: bool = False

    # One at a time is enough. Were that noted in a var, the note would be stored, and outlive a
    # task that ends with the server; this one begins again with the next.
    @background(overlap="skip", resume=True)
    async def my_task(self):
        while True:
            async with self:
                if self.counter >= self.max_counter:
                    self.running = False
                if not self.running:
                    return
                self.counter += 1
            await trio.sleep(0.5)  # outside the block: the buttons go on working

    def toggle_running(self):
        self.running = not self.running
        return MyTaskState.my_task if self.running else None

    def clear_counter(self):
        self.counter = 0


def page():
    return vstack(
        heading(MyTaskState.counter, " / ", MyTaskState.max_counter),
        hstack(
            number_input(
                value=MyTaskState.max_counter,
                on_change=MyTaskState.set_max_counter,
                aria_label="Limit",
            ),
            button(cond(MyTaskState.running, "Stop", "Start"), on_click=MyTaskState.toggle_running),
            button("Reset", on_click=MyTaskState.clear_counter),
        ),
    )


app = App()
app.add_page(page, title="Background task")
