"""Both examples in one app, with links between them: what ``make demo`` serves."""

import background_task
import fetch

from actorstate import App, hstack, link, vstack

links = hstack(link("Background task", href="/"), link("Fetch", href="/fetch"))

app = App()
app.add_page(vstack(links, background_task.page()), title="Background task")
app.add_page(vstack(links, fetch.page()), route="/fetch", title="Fetch")
