"""Search while somebody types: python -m actorstate run examples/search.py"""

import trio

from actorstate import (
    App,
    State,
    background,
    button,
    computed,
    cond,
    foreach,
    heading,
    hstack,
    input,  # noqa: A004 - the word of HTML
    li,
    text,
    ul,
    vstack,
)

HERBS = ["Anise", "Basil", "Chervil", "Chives", "Dill", "Fennel", "Lovage", "Mint", "Sage"]


class SearchState(State):
    words: str = ""
    found: list[str] = []
    searching: bool = False

    @computed
    def summary(self) -> str:
        return f"{len(self.found)} found"

    def look_for(self, words: str):
        self.words = words
        return SearchState.search

    # One search at a time, the latest; and none for a tab that was closed.
    @background(overlap="replace", on_disconnect="cancel")
    async def search(self):
        async with self:
            self.found = []
            self.searching = True
            words = self.words.lower()
        try:
            for herb in HERBS:
                await trio.sleep(0.25)  # somebody else's slow catalogue
                if words in herb.lower():
                    async with self:
                        self.found.append(herb)
        finally:  # found all, replaced or cancelled: the page is told
            with trio.CancelScope(shield=True):
                async with self:
                    self.searching = False


def page():
    return vstack(
        heading("Herbs"),
        hstack(
            input(value=SearchState.words, on_change=SearchState.look_for, aria_label="Search"),
            cond(SearchState.searching, button("Cancel", on_click=SearchState.search.cancel)),
        ),
        text(cond(SearchState.searching, "Searching… "), SearchState.summary),
        ul(foreach(SearchState.found, li)),
    )


app = App()
app.add_page(page, title="Search", on_load=SearchState.search)
