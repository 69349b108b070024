/* Maps: colours, lines of theory, and what the pointer is on. */
const byTag = (tag, number) => sources().find(source =>
  source.tags[0] === tag && source.tags[1] === number);
const points = number => byTag("map", number).data;
const colourOf = hex => [1, 3, 5].map(i => parseInt(hex.slice(i, i + 2), 16));
const rgba = ([red, green, blue]) => (255 << 24 | blue << 16 | green << 8 | red) >>> 0;
const text = (value, digits = 4) =>
  value == null ? "–" : Number(value.toPrecision(digits)).toString();
const percent = (value, digits = 2) =>
  value == null ? "not finite" : `${(100 * value).toFixed(digits)} %`;

/* A whole number as a share; null where the value is not finite. */
function share(array, i) {
  const top = array.dtype === "uint16" ? 65535 : 255;
  return array[i] === top ? null : array[i] / (top - 1);
}
function lossAt(number, i) {
  const coded = share(points(number).loss[0], i);
  return coded == null ? null : 10 ** (12 * coded - 6);
}

/* In words, with the digits that the whole numbers of the map have. */
const isCoarse = number => points(number).accuracy[0].dtype !== "uint16";
function accuracyText(number, i) {
  const value = percent(share(points(number).accuracy[0], i), isCoarse(number) ? 0 : 2);
  return isCoarse(number) ? `about ${value}` : value;
}
function lossText(number, i) {
  const value = lossAt(number, i);
  if (value == null) return "not finite";
  return isCoarse(number) ? `about ${text(value, 1)} nats` : `${text(value, 3)} nats`;
}

const GREY = rgba([190, 190, 190]), GREEN = rgba([0, 158, 115]), FAIL = rgba([240, 240, 240]);
function colours(number, state) {
  const data = points(number), scale = DATA.scale.map(rgba), last = scale.length - 1;
  const statuses = DATA.statuses.map(status => rgba(colourOf(status.colour)));
  const at = (value, [low, high]) => value == null ? GREY :
    scale[Math.max(0, Math.min(last, Math.round((value - low) / (high - low) * last)))];
  const loss = i => {
    const value = lossAt(number, i);
    return value == null ? null : -Math.log(value);
  };
  const losses = DATA.losses.map(value => -value).reverse();
  const choices = {
    accuracy: i => at(share(data.accuracy[0], i), DATA.accuracies),
    loss: i => at(loss(i), losses),
    status: i => statuses[data.status[0][i]],
    trains: i => (share(data.bar[0], i) ?? -1) >= Number(state.criterion) ? GREEN : FAIL,
  };
  const colour = choices[state.colour], image = data.image[0];
  for (let i = 0; i < image.length; i++) image[i] = colour(i);
  byTag("map", number).change.emit();
}

function setLine(tag, number, x, y) {
  const source = byTag(tag, number);
  if (source) source.data = { x, y };
}
/* Where values are drawn: at 0, 1, 2, … if they are not equally far apart. */
const positions = axis => axis.isEven ? axis.values : axis.values.map((_, i) => i);
function place({ values, isLog, isEven }, value) {
  if (isEven) return value;
  const at = isLog ? Math.log : Number;
  const i = values.findIndex(other => other >= value);
  if (i < 1) return value === values[0] ? 0 : NaN;
  return i - (at(values[i]) - at(value)) / (at(values[i]) - at(values[i - 1]));
}
function theory(number, multiple) {
  const part = DATA.panels[number], isUpright = DATA.is_learning_rate_on === "x";
  for (const [tag, by] of [["stable", multiple], ["activation", 1]]) {
    const rates = part[tag].map(rate => rate == null ? NaN :
      place(DATA[isUpright ? "x" : "y"], by * rate));
    const known = rates.length ? positions(DATA[isUpright ? "y" : "x"]) : [];
    if (isUpright) setLine(tag, number, rates, known); else setLine(tag, number, known, rates);
  }
}

const NOT_FINITE = [["rgb(190,190,190)", "not finite"]];
const LEGENDS = {
  accuracy: () => NOT_FINITE,
  loss: () => NOT_FINITE,
  status: () => DATA.statuses.filter((status, i) => DATA.panels.some(part =>
    points(part.number).status[0].includes(i))).map(({ colour, name, meaning }) =>
    [colour, meaning ? `${name}: ${meaning}` : name]),
  trains: state => [["#009e73", `trains: more than half of the seeds reach ${
    percent(Number(state.criterion))} of the training images`], ["#f0f0f0", "does not"]],
};
/* Names of the colours and of the lines: those that a scale has stand in the figure. */
const SCALES = {
  accuracy: ["test accuracy", at => percent(at, 1), () => DATA.accuracies],
  loss: ["training loss, nats (log scale)", at => text(Math.exp(at), 3),
    () => [...DATA.losses].reverse()],
};
function legend(state) {
  document.getElementById("colours").replaceChildren(...LEGENDS[state.colour](state).map(
    ([colour, label]) => {
      const item = document.createElement("li"), box = document.createElement("span");
      box.style.background = colour;
      item.append(box, ` ${label}`);
      return item;
    }));
  for (const { number, limit } of DATA.panels) {
    for (const model of models[`map-${number}`].below) {
      if (model.type === "ColorBar") scaleOf(model, SCALES[state.colour]);
      for (const item of model.type === "Legend" ? model.items : []) {
        if (item.name === "stable") item.label = { value: `${state.multiple} × ${limit}` };
      }
    }
  }
}
function scaleOf(bar, scale) {
  bar.visible = Boolean(scale);
  if (!scale) return;
  const [title, format, ends] = scale, [low, high] = ends();
  bar.title = title;
  const labels = [0, 0.5, 1].map(share => [share, format(low + share * (high - low))]);
  if (title !== SCALES.accuracy[0]) labels[0][1] += " and more";
  bar.major_label_overrides = new Map(labels);
}

function updateMap(state) {
  for (const { number, values } of DATA.panels) {
    colours(number, state);
    theory(number, Number(state.multiple ?? 1));
    const isLoss = ["both", values.loss].includes(state.clip ?? "both");
    const isChosen = ["all", String(number)].includes(state.maps ?? "all");
    show(`map-${number}`, isLoss && isChosen);
  }
  legend(state);
}
function startMap() {
  const middle = axis => positions(axis)[Math.floor(axis.values.length / 2)];
  isKept = true;  // and so not after this tap
  pointer(0, { x: middle(DATA.x), y: middle(DATA.y) }, true);
}

/* The position of a point: the value of an axis that is nearest to the pointer. */
function nearest({ values, isLog, isEven }, at) {
  if (!isEven) return Math.max(0, Math.min(values.length - 1, Math.round(at)));
  const place = value => isLog ? Math.log(value) : value;
  let best = 0;
  for (let i = 1; i < values.length; i++) {
    if (Math.abs(place(values[i]) - place(at)) < Math.abs(place(values[best]) - place(at))) {
      best = i;
    }
  }
  return best;
}

/* A tap keeps the readout at its point, until the next tap. */
let isKept = false;
function pointer(number, { x, y }, isTap) {
  if (isTap) isKept = !isKept;
  else if (isKept) return;
  const column = nearest(DATA.x, x), row = nearest(DATA.y, y), width = DATA.x.values.length;
  for (const part of DATA.panels) {
    const accuracy = points(part.number).accuracy[0], at = i => share(accuracy, i) ?? NaN;
    setLine("row", part.number, DATA.x.values, DATA.x.values.map((_, i) => at(row * width + i)));
    setLine("column", part.number, DATA.y.values,
      DATA.y.values.map((_, i) => at(i * width + column)));
    if (isTap && part.curves) {
      const data = points(part.number), curve = [];
      for (let epoch = 0; data[`epoch_${epoch}`]; epoch++) {
        curve.push(share(data[`epoch_${epoch}`][0], row * width + column) ?? NaN);
      }
      setLine("curve", part.number, curve.map((_, i) => i + 1), curve);
    }
  }
  const lines = describe(number, column, row);
  if (isKept) lines.unshift("Kept until you tap a map again.");
  document.getElementById("readout").textContent = lines.join("\n");
}

function describe(number, column, row) {
  const part = DATA.panels[number], data = points(number), i = row * DATA.x.values.length + column;
  const values = { x: DATA.x.values[column], y: DATA.y.values[row] };
  const isUpright = DATA.is_learning_rate_on === "x";
  const rate = isUpright ? values.x : values.y, at = isUpright ? row : column;
  const status = DATA.statuses[data.status[0][i]];
  const lines = [part.label, `${DATA.x.label} ${text(values.x)}, ${DATA.y.label} ${text(values.y)}`,
    `test accuracy ${accuracyText(number, i)}, training loss ${lossText(number, i)}`,
    `status ${status.name}${data.agree[0][i] ? "" : " (seeds differ)"}${
      status.meaning ? `: ${status.meaning}` : ""}`];
  if (part.sharpness.length) lines.push(`sharpness λ ${text(part.sharpness[at])}`);
  if (part.stable.length) {
    lines.push(`${part.limit} is ${text(part.stable[at])}; the learning rate is ${
      text(part.stable[at] && rate / part.stable[at])} times that`);
  }
  if (part.activation.length && part.activation[at] != null) {
    lines.push(`activation stability ${text(part.activation[at])}; the learning rate is ${
      text(rate / part.activation[at])} times that`);
  }
  if (data.is_trained) {
    lines.push(data.is_trained[0][i] ? "this point was run" : "filled in from the nearest point that was run");
  }
  const seeds = Object.keys(data).filter(name => name.startsWith("seed_")).map(name =>
    DATA.statuses[data[name][0][i]].name);
  if (seeds.length > 1) lines.push(`by seed: ${seeds.join(", ")}`);
  if (DATA.command) {
    const known = { ...part.values, ...values };
    lines.push(DATA.command.replace(/\{(\w+)\}/g, (all, name) => known[name] ?? all));
  }
  return lines;
}

function tooltip(number, key, { x, y }) {
  const i = nearest(DATA.y, y) * DATA.x.values.length + nearest(DATA.x, x), data = points(number);
  if (key === "x") return text(DATA.x.values[nearest(DATA.x, x)]);
  if (key === "y") return text(DATA.y.values[nearest(DATA.y, y)]);
  if (key === "status") return DATA.statuses[data.status[0][i]].name;
  return key === "accuracy" ? accuracyText(number, i) : lossText(number, i);
}
