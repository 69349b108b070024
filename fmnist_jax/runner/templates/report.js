"use strict";
const read = id => JSON.parse(document.getElementById(id).textContent);
const DATA = read("data"), form = document.getElementById("controls");
const models = {}, views = [];

const names = () => Object.keys(models);
const sources = () => [...new Set(names().flatMap(name =>
  models[name].renderers.map(renderer => renderer.data_source)))];
const show = (name, isVisible) => {
  const part = document.getElementById(`part-${names().indexOf(name)}`);
  part.hidden = !isVisible;
};

/* Each page has one of these; it is called after every change of a control. */
const SCRIPTS = {
  curves(state) {
    const metric = `${state.split}_${state.quantity}`, runs = state.runs ?? "seeds";
    const isChosen = setting => Object.entries(DATA.shown).every(([name, choices]) =>
      (choices[state[name]] ?? [setting]).includes(setting));
    for (const source of sources()) {
      const data = source.data, tag = source.tags[0];
      const chosen = isChosen(data.setting[0]);
      const isShown = chosen && (tag === "seeds") === (runs === "seeds");
      const nothing = () => new Float64Array(data.epoch.length).fill(NaN);
      data.y = isShown && data[metric] ? Float64Array.from(data[metric]) : nothing();
      if (tag !== "bands") {
        const epoch = state.epoch ? Number(state.epoch) : Math.max(...data.epoch.filter(isFinite));
        const values = data[metric] ?? nothing();
        data.final = Float64Array.from(values, (value, i) =>
          chosen && data.epoch[i] === epoch && (tag === "mean" || runs === "seeds")
            ? value : NaN);
      }
      source.change.emit();
    }
    const label = `${state.split === "train" ? "training" : state.split} ${state.quantity}`;
    for (const name of names()) {
      for (const axis of models[name].left) axis.axis_label = label;
    }
    for (const name of names()) show(name, models[name].tags[0] === state.scale);
  },
  map: state => updateMap(state),
};

/* Colours of text and lines, by the reader's preference. */
const dark = matchMedia("(prefers-color-scheme: dark)");
function applyTheme() {
  const ink = dark.matches ? "#d8d8d8" : "#333333", line = dark.matches ? "#3c3c3c" : "#e2e2e2";
  const paper = dark.matches ? "#161616" : "#ffffff";
  const inks = ["axis_label_text_color", "major_label_text_color", "axis_line_color",
    "major_tick_line_color", "minor_tick_line_color", "label_text_color", "title_text_color",
    "text_color"];
  for (const name of names()) {
    for (const model of models[name].references()) {
      const attributes = model.attributes;
      const isText = ["Title", "Legend", "ColorBar"].includes(model.type) || model.type.endsWith("Axis");
      for (const ink_of of inks) if (isText && ink_of in attributes) model[ink_of] = ink;
      /* Not transparent: Bokeh would leave old ticks when the layout changes. */
      if ("border_fill_color" in attributes) {
        model.border_fill_color = model.background_fill_color = paper;
      }
      if (model.type === "Grid") model.grid_line_color = line;
      if (model.type === "Legend" && innerWidth < 700) model.ncols = 1;
      if ("outline_line_color" in attributes) model.outline_line_color = line;
    }
  }
}

/* The controls, and the address that keeps them. */
function stateOf() { return Object.fromEntries(new FormData(form)); }
function restore() {
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    const field = form.elements[name];
    if (field) field.value = value;
  }
}
function update() {
  const state = stateOf();
  for (const [name, value] of Object.entries(state)) {
    const output = form.elements[`${name}_output`];
    if (output) output.value = DATA.outputs?.[name]?.[value] ?? value;
  }
  SCRIPTS[DATA.script](state);
}
function remember() {
  history.replaceState(null, "", `#${new URLSearchParams(stateOf())}`);
  update();
}

/* A PNG has 1,800 pixels across, whatever the width of the window. */
async function asPNG(svg) {
  const image = new Image(), canvas = document.createElement("canvas");
  image.src = URL.createObjectURL(svg);
  await image.decode();
  canvas.width = 1800;
  canvas.height = Math.round(1800 * image.height / image.width);
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise(resolve => canvas.toBlob(resolve));
}
async function download(event) {
  const { figure, type } = event.currentTarget.dataset;
  const name = names()[figure], svg = await views[figure].export("svg").to_blob();
  const blob = type === "png" ? await asPNG(svg) : svg;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}.${type}`;
  link.click();
}

async function start() {
  const page = read("document"), ids = page.roots.map(root => root.id);
  const roots = Object.fromEntries(ids.map((id, i) => [id, `figure-${i}`]));
  const [manager] = await Bokeh.embed.embed_items({ page },
    [{ docid: "page", roots, root_ids: ids }]);
  for (const id of ids) {
    const view = manager.roots.find(root => root.model.id === id);
    views.push(view);
    models[view.model.name] = view.model;
  }
  restore();
  applyTheme();
  update();
  if (DATA.script === "map") startMap();
  dark.addEventListener("change", applyTheme);
  form.addEventListener("input", remember);
  form.addEventListener("submit", event => event.preventDefault());
  addEventListener("hashchange", () => { restore(); update(); });
  for (const button of document.querySelectorAll("button[data-figure]")) {
    button.addEventListener("click", download);
  }
  document.body.dataset.ready = "true";
}
