"""The file that Streamlit runs; `statescope app` starts it."""

from __future__ import annotations

from statescope.app.server.warm_up import SHOWN, import_for_pages

if __name__ == "__main__":  # and not in a process that a page starts, which runs this file under another name
    import_for_pages()
    from statescope.app.server.script import main  # not above: no two threads import parts of one package at once

    main()
    SHOWN.set()
