"""A form for the settings of any study; what is started runs in a process of its own, and outlives the page."""

from __future__ import annotations

import streamlit as st

from ...probe.configuration import BadSettingError
from ...probe.errors import StatescopeError
from ...probe.runs.run import Run
from ...probe.runs.study import Study, list_studies
from ..components.choose import choose
from ..components.start import start_run, tell_status
from ..components.study_form import Field, fields_of, prepare, study_of
from ..components.text import in_words, literal
from ..environment import runs_folder
from ..seeds import parse_seeds, parse_steps
from .page import FolderPage

COLUMNS = 3
STARTED = "started"


class NewRun(FolderPage, kind="new_run"):
    """Choose a study, change what is to be changed, start it."""

    title = "New run"
    icon = ":material/add_circle:"
    order = 2
    runs_models = True  # it builds the study whose settings it asks for

    def draw(self) -> None:
        st.header(self.title)
        studies = {entry.name: entry for entry in list_studies()}
        name = choose("study", list(studies), "new", where=st.columns(COLUMNS)[0])
        st.text(studies[name].question)
        st.caption(f"It takes about {studies[name].time} with its own settings, on two cores.")
        try:
            fields = fields_of(name)
        except StatescopeError as error:
            st.error(literal(error))
            return
        with st.form("settings"):
            boxes = st.columns(COLUMNS)
            seeds = boxes[0].text_input(
                "seeds", "0", key=f"set-{name}-seeds", help="Such as 0, or 0..4, or 0,2,5.", max_chars=200
            )
            workers = boxes[1].number_input("workers", 1, 16, 1, help="Seeds that are done at a time.", key=f"set-{name}-workers")
            keep = boxes[2].text_input(
                "steps to keep",
                "",
                key=f"set-{name}-keep",
                max_chars=200,
                help="Such as 0,10,100: checkpoints of these steps of training stay, to see what changes from one to the next.",
            )
            texts = _ask(name, fields)
            if st.form_submit_button("Check and start", type="primary", icon=":material/play_arrow:"):
                _begin(name, seeds, int(workers), keep.replace(" ", ""), texts)
        st.caption("Settings that name folders or files are set on the command line: " + literal(f"statescope run {name} --help"))
        started = st.session_state.get(STARTED)
        if started is not None and (runs_folder() / started / "manifest.json").exists():
            st.subheader(literal(started))
            tell_status(Run(runs_folder() / started))


def _ask(name: str, fields: tuple[Field, ...]) -> dict[str, str]:
    """A box for each setting, those of a part of the study together."""
    given = {}
    groups = {field.path.rpartition(".")[0]: None for field in fields}
    for group in groups:
        own = [field for field in fields if field.path.rpartition(".")[0] == group]
        place = st.container() if not group else st.expander(in_words(group))
        with place:
            columns = st.columns(COLUMNS)
            for index, field in enumerate(own):
                label = in_words(field.path.rpartition(".")[2])
                given[field.path] = columns[index % COLUMNS].text_input(
                    label, field.value, key=f"set-{name}-{field.path}", help=literal(field.text) if field.text else None
                )
    return given


def _begin(name: str, seeds: str, workers: int, keep: str, texts: dict[str, str]) -> None:
    """Start the study, or say what is wrong with its settings."""
    try:
        chosen = parse_seeds(seeds.replace(" ", ""))
        kept = ["--keep", ",".join(map(str, parse_steps(keep)))] if keep else []
        study: Study = study_of(name, chosen[0], texts)
        study = study if len(chosen) == 1 else study.over(chosen)
        out = prepare(study, runs_folder())
    except (BadSettingError, StatescopeError) as error:
        st.error(f"It was not started: {literal(error)}")
        return
    if Run(out).status == "finished":
        st.success(f"These settings have been run already: {literal(out.name)}.")
    elif Run(out).status == "running":
        st.info(f"{literal(out.name)} is running already.")
    else:
        start_run(out, [str(out), "--out", str(out), "--workers", str(workers), *kept])
    st.session_state[STARTED] = out.name
