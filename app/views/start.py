"""The first page of a newcomer without a run."""

from __future__ import annotations

from statescope.app.components.start import offer_first_run

offer_first_run()
