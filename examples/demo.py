"""All examples in one app, with links between them: what ``make demo`` serves."""

import background_task
import fetch
import kettle
import search
import todo

from actorstate import App, hstack, link, vstack

links = hstack(
    link("Background task", href="/"),
    link("Search", href="/search"),
    link("Fetch", href="/fetch"),
    link("To do", href="/todo"),
    link("Kettle", href="/kettle"),
)

app = App(asyncio=True)  # the kettle's tasks are asyncio's
app.add_page(vstack(links, background_task.page()), title="Background task")
app.add_page(
    vstack(links, search.page()), route="/search", title="Search", on_load=search.SearchState.search
)
app.add_page(vstack(links, fetch.page()), route="/fetch", title="Fetch")
app.add_page(vstack(links, todo.page()), route="/todo", title="To do")
app.add_page(vstack(links, kettle.index()), route="/kettle", title="Kettle")
