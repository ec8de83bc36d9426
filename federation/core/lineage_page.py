"""Lineage as a page: one HTML file with the picture in it, to be moved, searched and asked. It loads nothing and sends nothing.

Its content security policy forbids it to. What the picture knows of each box travels as JSON in which no text can end the
element, and is shown as text alone.
"""

from __future__ import annotations

import base64
import hashlib
import json

from federation.core import lineage_picture
from federation.core.lineage import Graph
from federation.core.picture import escaped

_CSS = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1f2328;--soft:#59636e;--line:#d1d9e0;--bar:#f6f8fa;--mark:#0969da}
@media(prefers-color-scheme:dark){
  :root{--paper:#0d1117;--ink:#f0f6fc;--soft:#9198a1;--line:#3d444d;--bar:#161b22;--mark:#4493f8}
}
*{box-sizing:border-box}
html,body{height:100%;margin:0;background:var(--paper);color:var(--ink);overflow:hidden}
body{font:14px/1.45 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;display:flex;flex-direction:column}
header{display:flex;flex-wrap:wrap;gap:4px 18px;align-items:center;padding:10px 16px;background:var(--bar);
  border-bottom:1px solid var(--line)}
h1{font-size:16px;margin:0;overflow-wrap:anywhere}
header p{margin:0;color:var(--soft);flex:1 1 320px}
input,button{font:inherit;color:inherit;background:var(--paper);border:1px solid var(--line);border-radius:6px;padding:4px 9px}
input{width:230px}
button{cursor:pointer}
input:focus,button:focus,.unit:focus{outline:2px solid var(--mark);outline-offset:1px}
main{flex:1;position:relative;min-height:0}
#canvas{width:100%;height:100%;display:block;cursor:grab;touch-action:none}
#canvas.moving{cursor:grabbing}
.unit{cursor:pointer}
.dim{opacity:.13}
.hit .card,.hit .pill{stroke:var(--mark);stroke-width:2.5}
.far .label,.far .small.soft{display:none}
#legend{position:absolute;left:12px;bottom:12px;padding:8px 12px;background:var(--bar);border:1px solid var(--line);
  border-radius:8px;font-size:12px;max-width:46%;opacity:.95}
#legend span{display:inline-block;margin-right:14px;white-space:nowrap}
aside{position:absolute;right:0;top:0;bottom:0;width:min(370px,90%);overflow:auto;padding:14px 18px;background:var(--bar);
  border-left:1px solid var(--line);box-shadow:-6px 0 18px rgb(0 0 0/.08)}
aside[hidden]{display:none}
aside h2{font-size:15px;margin:0 34px 10px 0;overflow-wrap:anywhere}
aside h3{font-size:12px;margin:16px 0 4px;color:var(--soft);font-weight:600}
#close{position:absolute;right:12px;top:10px}
dl{display:grid;grid-template-columns:max-content 1fr;gap:3px 12px;margin:0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
aside ul{margin:0;padding:0;list-style:none}
aside li button{border:0;background:none;padding:2px 0;text-align:left;color:var(--mark);overflow-wrap:anywhere}
aside li small{color:var(--soft);display:block}
"""

_JS = """
'use strict';
const byId = id => document.getElementById(id);
const data = JSON.parse(byId('data').textContent);
const canvas = byId('canvas'), view = byId('view'), panel = byId('panel'), find = byId('find');
const units = [...view.querySelectorAll('.unit')], ends = [...view.querySelectorAll('[data-a]')];
let scale = 1, x = 0, y = 0, hits = [], at = -1, held = null;

// Where one looks

function draw() {
  view.setAttribute('transform', `translate(${x} ${y}) scale(${scale})`);
  canvas.classList.toggle('far', scale < .45);
}
function middle() {
  const box = canvas.getBoundingClientRect();
  return [box.width / 2, box.height / 2];
}
function zoom(by, atX, atY) {
  const next = Math.min(4, Math.max(.03, scale * by));
  x = atX - (atX - x) * next / scale;
  y = atY - (atY - y) * next / scale;
  scale = next;
  draw();
}
function fit() {
  const box = canvas.getBoundingClientRect();
  scale = Math.min(1.3, (box.width - 60) / data.width, (box.height - 110) / data.height);
  x = (box.width - data.width * scale) / 2;
  y = (box.height - 50 - data.height * scale) / 2;
  draw();
}
function go(n) {
  const [w, h] = middle();
  scale = Math.max(scale, .75);
  x = w - data.units[n].x * scale;
  y = h - data.units[n].y * scale;
  draw();
}

// What is lit

function reach(n, from, to) {
  const seen = new Set([n]);
  for (const m of seen) for (const link of data.links) if (link[from] === m) seen.add(link[to]);
  return seen;
}
function light(kept) {
  units.forEach((unit, n) => unit.classList.toggle('dim', kept !== null && !kept.has(n)));
  ends.forEach(end => end.classList.toggle('dim',
    kept !== null && !(kept.has(+end.dataset.a) && kept.has(+end.dataset.b))));
}

// What is told: as text alone

function node(tag, text, parent) {
  const made = document.createElement(tag);
  if (text) made.textContent = text;
  parent.append(made);
  return made;
}
function list(title, links, other) {
  if (!links.length) return;
  node('h3', title, panel);
  const items = node('ul', '', panel);
  for (const link of links) {
    const item = node('li', '', items);
    node('button', data.units[link[other]].title, item).onclick = () => { choose(link[other]); go(link[other]); };
    if (link[2]) node('small', link[2], item);
  }
}
function choose(n) {
  units.forEach((unit, m) => unit.classList.toggle('hit', m === n));
  panel.hidden = n < 0;
  if (n < 0) return light(null);
  const up = reach(n, 1, 0), down = reach(n, 0, 1);
  light(new Set([...up, ...down]));
  panel.replaceChildren();
  const close = node('button', '\\u2715', panel);
  close.id = 'close';
  close.ariaLabel = 'Close';
  close.onclick = () => choose(-1);
  node('h2', data.units[n].title, panel);
  const told = node('dl', '', panel);
  for (const [word, text] of data.units[n].told) { node('dt', word, told); node('dd', text, told); }
  list('from', data.links.filter(link => link[1] === n), 0);
  list('to', data.links.filter(link => link[0] === n), 1);
  node('h3', 'all around it', panel);
  node('div', `${up.size - 1} before it, ${down.size - 1} after it`, panel);
}
function search() {
  const word = find.value.trim().toLowerCase();
  hits = [];
  at = -1;
  if (word) data.units.forEach((unit, n) => { if (unit.told.some(p => p[1].toLowerCase().includes(word))) hits.push(n); });
  byId('found').textContent = word ? `${hits.length} found` : '';
  light(word ? new Set(hits) : null);
}
function next() {
  if (!hits.length) return;
  at = (at + 1) % hits.length;
  choose(hits[at]);
  light(new Set(hits));
  go(hits[at]);
}

// What people do

units.forEach((unit, n) => {
  unit.addEventListener('click', event => { event.stopPropagation(); choose(n); });
  unit.addEventListener('keydown', event => {
    if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); choose(n); }
  });
});
canvas.addEventListener('pointerdown', event => { held = { fromX: event.clientX, fromY: event.clientY, x, y, moved: false }; });
addEventListener('pointermove', event => {
  if (!held) return;
  const dx = event.clientX - held.fromX, dy = event.clientY - held.fromY;
  if (!held.moved && Math.hypot(dx, dy) < 4) return;
  held.moved = true;
  canvas.classList.add('moving');
  x = held.x + dx;
  y = held.y + dy;
  draw();
});
let dragged = false;
addEventListener('pointerup', () => { dragged = !!held && held.moved; canvas.classList.remove('moving'); held = null; });
canvas.addEventListener('click', () => { if (!dragged) choose(-1); });
canvas.addEventListener('wheel', event => {
  event.preventDefault();
  const box = canvas.getBoundingClientRect();
  zoom(Math.exp(-event.deltaY * .0015), event.clientX - box.left, event.clientY - box.top);
}, { passive: false });
find.addEventListener('input', search);
find.addEventListener('keydown', event => { if (event.key === 'Enter') next(); });
byId('fit').onclick = fit;
byId('in').onclick = () => zoom(1.3, ...middle());
byId('out').onclick = () => zoom(1 / 1.3, ...middle());
addEventListener('keydown', event => {
  if (event.key === 'Escape') { find.value = ''; search(); choose(-1); }
  if (event.target === find) return;
  if (event.key === 'f') fit();
  if (event.key === '+') zoom(1.3, ...middle());
  if (event.key === '-') zoom(1 / 1.3, ...middle());
  if (event.key === '/') { event.preventDefault(); find.focus(); }
});
addEventListener('resize', draw);

fit();
// Too small to read: begin at what was asked for.
if (scale < .6 && data.root >= 0) { scale = .75; go(data.root); }
"""


def page(graph: Graph) -> str:
    """The file's text."""
    drawn = lineage_picture.picture(graph)
    style = f"{lineage_picture.STYLE}{_CSS}"
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(_JS)}'; base-uri 'none'; form-action 'none'"
    # `style` attributes of our own would need leave of their own: colours of the legend stand in attributes of SVG instead.
    return "\n".join(
        (
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Lineage of {escaped(graph.root)}</title>",
            f"<style>{style}</style></head>",
            "<body><header>",
            f"<h1>Lineage of {escaped(graph.root)}</h1><p>{escaped(lineage_picture.described(drawn))}</p>",
            '<input id="find" type="search" placeholder="Search ( / )" aria-label="Search" autocomplete="off">',
            '<span id="found" role="status"></span>',
            '<button id="out" aria-label="Smaller">\N{MINUS SIGN}</button><button id="in" aria-label="Larger">+</button>',
            '<button id="fit">Fit</button></header>',
            '<main><svg id="canvas" role="img" aria-label="Lineage"><g id="view">',
            *lineage_picture.body(drawn),
            "</g></svg>",
            f'<div id="legend">{_legend(drawn)}</div><aside id="panel" hidden></aside></main>',
            f'<script type="application/json" id="data">{_data(drawn)}</script>',
            f"<script>{_JS}</script></body></html>",
            "",
        )
    )


def _hash(text: str) -> str:
    """What a content security policy calls an inline element by."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _legend(drawn: lineage_picture.Picture) -> str:
    parts = [
        f'<span><svg width="12" height="12"><rect width="12" height="12" rx="2" fill="{drawn.colour(region)}"/></svg> '
        f"{escaped(region)}</span>"
        for region in drawn.regions
    ]
    if any(link.edge.crossed for link in drawn.links):
        line = '<svg width="22" height="8"><path d="M0 4h22" class="way crossed" stroke-width="3"/></svg>'
        parts.append(f"<span>{line} crossed a region</span>")
    return "".join(parts)


def _data(drawn: lineage_picture.Picture) -> str:
    """What the script knows, as JSON in which `<` cannot begin an end tag or a comment."""
    number = {unit.key: place for place, unit in enumerate(drawn.units)}
    plain = {
        "width": round(drawn.placed.width),
        "height": round(drawn.placed.height),
        "root": next((place for place, unit in enumerate(drawn.units) if "root" in unit.style.split()), -1),
        "units": [
            {"title": unit.title, "told": unit.told, "x": round(x), "y": round(y)}
            for unit in drawn.units
            for x, y in [drawn.placed.centres[unit.key]]
        ],
        "links": [[number[link.source], number[link.target], lineage_picture.told(link.edge)] for link in drawn.links],
    }
    text = json.dumps(plain, ensure_ascii=False, separators=(",", ":"))
    for char in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
