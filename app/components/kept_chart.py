"""A plotly chart that keeps its camera and zoom while what it draws changes.

Streamlit's own chart starts afresh whenever its figure changes. This one calls Plotly.react with the layout's uirevision, on
the plotly.js that comes with the plotly package, which the server hands out; nothing is loaded from elsewhere.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import streamlit as st
from plotly.graph_objects import Figure

from ...probe.results.interactive import NAMED, OPTIONS
from ..plotly_library import library_address
from .component_key import component_key

CHART = (
    f"const OPTIONS = {json.dumps({**OPTIONS, 'responsive': True, 'toImageButtonOptions': {'format': 'svg'}})};"
    f"const NAMED = {json.dumps(NAMED)};"
    + """
const NARROW = 560, LONGEST = 18, FEW = 4, LINE = 13;  // pixels, letters of a line, names down a panel, pixels of a line of them
const UPRIGHT = 13, SMALL = 10;  // pixels: from one name that stands upright to the next, and the letters of a name there
const PLOT = 168, ALONE = 250, ABOVE = 30, BELOW = 64, TOP = 48, ENTRY = 20;  // pixels: one of several panels, a single one,
// above a panel and below, title, entry of the legend
const TITLE = 13, LETTER = 7, SHORT = 8;  // pixels: a title, and one of its letters; letters that stand above a colour bar
const TITLED = 0.75, NAMED_BELOW = 0.62;  // of the width: what the title of a panel gets, and that of the axis below it

// Long names beside a narrow chart would leave no room for it, and a long title would end at its edge.
function wrap(name, longest = LONGEST) {
    const lines = [""];
    for (const word of String(name).split(" ")) {
        if (lines.at(-1) && lines.at(-1).length + word.length > longest) lines.push(word);
        else lines.push(`${lines.pop()} ${word}`.trim());
    }
    return lines.join("<br>");
}

// A title in lines of so many letters; how many pixels it is higher by than one of a single line.
function titled(title, longest) {
    const lines = wrap(title.text.replaceAll("<br>", " "), longest);
    Object.assign(title, { text: lines, font: { ...title.font, size: TITLE } });
    return (lines.split("<br>").length - 1) * (TITLE + 4);
}

// The names along an axis of a map, or each second, third, ... where no more find room.
function name(axis, names, most) {
    const step = Math.ceil(names.length / Math.max(2, Math.floor(most)));
    axis.tickvals = names.map((_, place) => place).filter(place => place % step === 0);
    axis.ticktext = axis.tickvals.map(place => names[place]);
}

// The names of a map on a narrow screen: below it upright where they do not stand beside each other, beside it in lines; a long
// name of its colours runs along their bar. How high the names down its side need it to be.
function fit(map, across, down, width) {
    const { rows, columns } = map.meta, beside = rows.map(row => wrap(row));
    const longest = names => Math.max(...names.map(name => Math.max(...name.split("<br>").map(line => line.length))));
    const room = 0.84 * width - 2 * LINE - LETTER * longest(beside);
    const lying = columns.length * LETTER * (1 + longest(columns)) <= room;
    name(across, columns, lying ? columns.length : room / UPRIGHT);
    Object.assign(across, { tickangle: lying ? 0 : -90, tickfont: { size: SMALL } });
    const line = LINE * Math.max(...beside.map(row => row.split("<br>").length));
    name(down, beside, 0.9 * width / line);
    const bar = map.colorbar, long = bar && bar.title && (bar.title.text || "").length > SHORT;
    if (long) bar.title = { ...bar.title, side: "right", font: { size: SMALL } };
    return line * down.ticktext.length;
}

// Each cell of a map tells its names when one points at it. Whether some of them stand nowhere: numbers from 0 on say themselves.
function tell(figure, named) {
    const maps = figure.data.filter(trace => trace.type === "heatmap" && trace.meta);
    for (const map of maps) {
        map.text = map.meta.rows.map(row => map.meta.columns.map(column => `${row}, ${column}`));
        map.hovertemplate = NAMED;
    }
    const hidden = (axis, names) => axis.ticktext.length < names.length && names.some((name, place) => name !== String(place));
    const axes = map => [named(map.xaxis, "x"), named(map.yaxis, "y")].map(axis => figure.layout[axis]);
    return maps.some(map => hidden(axes(map)[0], map.meta.columns) || hidden(axes(map)[1], map.meta.rows));
}

// How high a panel is, so that the names down its side have room; one of equal scales is nearly as high as it is wide.
function tallest(figure, named, width, tall) {
    for (const [name, axis] of Object.entries(figure.layout)) {
        if (!name.startsWith("yaxis")) continue;
        if (axis.scaleanchor) tall = Math.max(tall, 0.64 * width);
        if (!axis.ticktext) continue;
        axis.ticktext = axis.ticktext.map(name => wrap(name));
        if (axis.ticktext.length > FEW) axis.tickfont = { size: 10 };
        const lines = Math.max(...axis.ticktext.map(name => name.split("<br>").length));
        tall = Math.max(tall, (LINE * lines + 6) * axis.ticktext.length);
    }
    for (const map of figure.data.filter(trace => trace.type === "heatmap" && trace.meta)) {
        const [across, down] = [named(map.xaxis, "x"), named(map.yaxis, "y")].map(axis => figure.layout[axis]);
        tall = Math.max(tall, fit(map, across, down, width));
    }
    return tall;
}

// The title of each panel, a note in the middle of its upper edge.
function titlesOf(figure, pairs) {
    const near = (one, other) => Math.abs(one - other) < 0.01;
    const notes = (figure.layout.annotations || []).filter(note => note.xref === "paper" && note.yref === "paper");
    return pairs.map(own => {
        const [across, up] = own.split(",").map(axis => figure.layout[axis].domain);
        return notes.find(note => near(note.x, (across[0] + across[1]) / 2) && near(note.y, up[1]));
    });
}

// What names an axis is broken into lines where it has no room. Names of bars stand upright where they do not lie in lines. How
// much more room below a panel both take; long names stand upright there, but for those that are in lines already.
function below(figure, pairs, tall, width) {
    let lower = 0;
    for (const own of pairs) {
        const [x, y] = own.split(",").map(axis => figure.layout[axis]);
        if (x.title && x.title.text) lower = Math.max(lower, titled(x.title, NAMED_BELOW * width / LETTER));
        if (y.title && y.title.text) titled(y.title, tall / LETTER);
        const lines = (x.ticktext || []).flatMap(name => name.split("<br>").map(line => line.length));
        if (x.tickangle === 0 && Math.max(0, ...lines) + 1 > 0.7 * width / LETTER / (x.ticktext || [0]).length) {
            x.ticktext = x.ticktext.map(name => name.replaceAll("<br>", " "));
            x.tickangle = -90;
        }
    }
    const across = pairs.flatMap(own => {
        const { ticktext, tickangle } = figure.layout[own.split(",")[0]];
        const room = name => tickangle === 0 ? LINE * (name.split("<br>").length - 1) : LETTER * (name.length - 4);
        return (ticktext || []).map(room);
    });
    return BELOW + lower + Math.max(0, ...across);
}

// On a narrow screen the panels of a figure stand below each other, each with its title, its names and its colour bar. Each is
// as high as its names need.
function stack(figure, named, width) {
    const pair = trace => [named(trace.xaxis, "x"), named(trace.yaxis, "y")].join();
    const pairs = [...new Set(figure.data.map(pair))];
    const top = figure.layout.title && figure.layout.title.text ? TOP + titled(figure.layout.title, width / LETTER) : TOP;
    if (!pairs.length || figure.layout.scene) return;
    const tall = tallest(figure, named, width, pairs.length > 1 ? PLOT : ALONE), titles = titlesOf(figure, pairs);
    const above = ABOVE + Math.max(0, ...titles.filter(Boolean).map(title => titled(title, TITLED * width / LETTER)));
    const high = pairs.length * (tall + above + below(figure, pairs, tall, width));
    const bar = trace => trace.colorbar || (trace.marker && trace.marker.colorbar);
    const end = figure.data.some(bar) ? 0.84 : 1;
    pairs.forEach((own, index) => {
        const [x, y] = own.split(",");
        const under = 1 - index / pairs.length - above / high;
        figure.layout[x].domain = [0, end];
        figure.layout[y].domain = [under - tall / high, under];
        if (figure.layout[y].showticklabels === false) figure.layout[y].showticklabels = true;
        if (titles[index]) Object.assign(titles[index], { x: end / 2, y: under });
        figure.data.filter(trace => pair(trace) === own).map(bar).filter(Boolean).forEach(own =>
            Object.assign(own, { x: 0.85, xpad: 4, y: under - tall / 2 / high, len: tall / high, thickness: 8 }));
    });
    const names = figure.data.filter(trace => trace.showlegend).length;
    figure.layout.margin = { ...figure.layout.margin, t: top, b: ENTRY * (names + 1) };
    figure.layout.height = high + top + ENTRY * (names + 1);
    if (figure.layout.legend) figure.layout.legend.y = 0;
}

function drawn(place) {
    if (!window.Plotly) {  // it comes once for all charts
        if (!document.getElementById("plotly-library")) {
            const script = document.createElement("script");
            script.id = "plotly-library";
            script.src = place.given.library;
            document.head.appendChild(script);
        }
        setTimeout(() => drawn(place), 30);
        return;
    }
    const data = place.given;
    const figure = JSON.parse(data.figure);
    // plotly.js keeps zoom by uirevision, but now and then loses a camera that was turned: after a resize the scene writes it
    // into a layout that is no longer the figure's. So it is asked of the scene itself, and handed over.
    const scene = place._fullLayout && place._fullLayout.scene;
    if (scene && scene.uirevision === figure.layout.uirevision) {
        figure.layout.scene.camera = scene._scene.getCamera();
    }
    const named = (axis, letter) => letter + "axis" + (axis || letter).slice(1);
    if (place.clientWidth && place.clientWidth < NARROW) stack(figure, named, place.clientWidth);
    place.names.hidden = !tell(figure, named);
    window.Plotly.react(place, figure.data, figure.layout, OPTIONS);
}

export default function(component) {
    const { data, parentElement } = component;
    let place = parentElement.querySelector(".chart");
    if (!place) {
        place = document.createElement("div");
        place.className = "chart";
        parentElement.appendChild(place);
        place.names = document.createElement("p");
        place.names.className = "names";
        place.names.textContent = "Not every name has room here: point at a cell, or touch it, to read its own.";
        parentElement.appendChild(place.names);
    }
    place.setAttribute("role", "figure");  // an image would hide the buttons inside
    place.setAttribute("aria-label", data.alt);
    place.given = data;
    drawn(place);
}
"""
)

CHART_STYLE = "p.names { font-size: 0.875rem; opacity: 0.65; margin: 0 }"


@cache
def _chart() -> Any:
    return st.components.v2.component("statescope_chart", js=CHART, css=CHART_STYLE, isolate_styles=False)


def kept_chart(figure: Figure, key: str, alt: str) -> None:
    """Draw a figure; its camera and zoom survive a change of its data. key: differs from that of any other chart of the page."""
    figure.update_layout(uirevision=component_key(key), autosize=True, height=figure.layout.height or 420)
    data = {"figure": figure.to_json(validate=False), "alt": alt, "library": library_address()}
    _chart()(data=data, key=component_key(key))
