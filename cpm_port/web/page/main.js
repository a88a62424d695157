// The page: what a click, a key, a dropped picture does.

import { Boxes } from "./boxes.js";
import { ALL, Maps, paint } from "./maps.js";
import { Refusal, ask, askJson, look, useToken } from "./server.js";
import { View, side, words } from "./view.js";

const $ = (id) => document.getElementById(id);
const STEP_MS = 700; // between two stages when they play
const THUMBNAIL = 132; // px of a thumbnail's canvas

let about = null; // what the server is and may
let picture = null; // {id, name, width, height, url}
let running = null; // the AbortController of the work in progress
let playing = null; // the timer of the stages
const shown = { person: 0, stage: 0, level: 0, part: ALL, least: 0.1, joints: true, heat: true, box: false, center: false, marked: null };

const first = new View(tip, choose);
const second = new View(tip, choose);
second.element.hidden = true;
$("views").append(first.element, second.element);
const boxes = new Boxes(first.layer, () => [first.width, first.height], scalesOf, boxesChanged, () => $("add-box").focus());

// ---- what is told -------------------------------------------------------------------------------------------------

function status(text) {
  $("status").textContent = text;
}

function fail(error) {
  if (error.name === "AbortError") {
    status("Cancelled.");
    return;
  }
  if (error.status === 401) {
    $("token-window").showModal();
    return;
  }
  if (!(error instanceof Refusal)) console.error(error);
  $("error").textContent = error instanceof Refusal ? error.message : `The page stumbled: ${error.message}. Load it again.`;
  $("error").hidden = false;
  status("");
}

// Do something that may fail, and say so where it does.
async function trying(work) {
  $("error").hidden = true;
  try {
    return await work();
  } catch (error) {
    fail(error);
    return null;
  }
}

function tip(text, event) {
  $("tip").hidden = text === null;
  if (text === null) return;
  $("tip").textContent = text;
  $("tip").style.left = `${Math.min(event.clientX + 12, innerWidth - 160)}px`;
  $("tip").style.top = `${Math.max(4, event.clientY - 34)}px`;
}

// ---- pictures in --------------------------------------------------------------------------------------------------

async function open(file) {
  if (!file) return;
  const { bytes } = about.limits;
  await trying(async () => {
    if (file.size > bytes) {
      throw new Refusal(413, `${file.name} is larger than ${Math.round(bytes / 2 ** 20)} MiB.`, "Make the picture smaller, and open it again.");
    }
    await take(`/api/pictures?name=${encodeURIComponent(file.name || "pasted.png")}`, file);
  });
}

async function take(path, body) {
  cancel();
  status("Sending the picture…");
  const sent = await askJson(path, { method: "POST", body });
  const url = URL.createObjectURL(await (await ask(`/api/pictures/${sent.id}`)).blob());
  if (picture) {
    URL.revokeObjectURL(picture.url);
    ask(`/api/pictures/${picture.id}`, { method: "DELETE" }).catch(() => {});
  }
  picture = { ...sent, url };
  boxes.clear();
  first.setPicture(url, sent.name, sent.width, sent.height);
  second.element.hidden = true;
  first.layer.classList.remove("fixed");
  $("find").disabled = false;
  showNothing();
  status("");
}

const example = () => trying(() => take("/api/example"));

$("file").addEventListener("change", () => {
  open($("file").files[0]);
  $("file").value = "";
});
$("example").addEventListener("click", example);

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dropping");
  if (!carriesFiles(event)) return;
  event.preventDefault();
  open(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const file = [...(event.clipboardData?.files ?? [])].find((one) => one.type.startsWith("image/"));
  if (file) open(file);
});

$("camera").addEventListener("click", () => trying(async () => {
  if (!navigator.mediaDevices) {
    throw new Refusal(0, "Browsers give a page the camera on this machine or over https only.", "Open a photograph instead.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user", width: { ideal: 1280 } } });
  } catch (error) {
    throw new Refusal(0, `The camera cannot be used (${error.name}).`, "Allow it in the browser, or open a photograph instead.");
  }
  $("camera-picture").srcObject = stream;
  $("camera-window").showModal();
}));
$("shoot").addEventListener("click", () => {
  const video = $("camera-picture");
  if (!video.videoWidth) return;
  const canvas = document.createElement("canvas");
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  canvas.getContext("2d").drawImage(video, 0, 0);
  $("camera-window").close();
  canvas.toBlob((blob) => open(new File([blob], "camera.png", { type: "image/png" })), "image/png");
});
$("camera-close").addEventListener("click", () => $("camera-window").close());
$("camera-window").addEventListener("close", () => {
  for (const track of $("camera-picture").srcObject?.getTracks() ?? []) track.stop();
  $("camera-picture").srcObject = null;
});

// ---- boxes --------------------------------------------------------------------------------------------------------

// The scales at which a model looks at a box: its longer side is the person's height.
function scalesOf([, , width, height]) {
  const model = about.models.find((one) => one.name === $("model").value);
  const base = model.height_at_scale_1 / Math.max(1, width, height);
  const of = (multiplier) => (base * multiplier).toPrecision(3);
  return `${of(Math.min(...about.multipliers))} to ${of(Math.max(...about.multipliers))}`;
}

function boxesChanged() {
  const count = boxes.list.length;
  $("clear-boxes").disabled = count === 0;
  $("add-box").disabled = !picture || count >= about.limits.boxes;
  $("find").textContent = count === 0 ? "Find people" : count === 1 ? "Find joints in the box" : `Find joints in ${count} boxes`;
}

$("add-box").addEventListener("click", () => boxes.addInMiddle());
$("clear-boxes").addEventListener("click", () => boxes.clear());
$("model").addEventListener("change", () => {
  offerSecond();
  boxes.refresh();
});

// ---- looking ------------------------------------------------------------------------------------------------------

$("find").addEventListener("click", () => trying(find));
$("cancel").addEventListener("click", cancel);

function cancel() {
  running?.abort();
}

async function find() {
  if (running || !picture) return;
  const own = new AbortController();
  running = own;
  $("find").setAttribute("aria-disabled", "true");
  $("progress").hidden = false;
  $("bar").removeAttribute("value");
  status("Asking…");
  try {
    const wish = { picture: picture.id, model: $("model").value };
    if (boxes.list.length) wish.boxes = boxes.values;
    const result = await look(wish, own.signal, progress);
    const like = { picture: picture.id, model: $("second").value, like: result.id };
    const other = like.model ? await look(like, own.signal, progress) : null;
    await show(result, other, own.signal);
    status(said(result));
  } finally {
    running = null;
    $("find").removeAttribute("aria-disabled");
    $("progress").hidden = true;
  }
}

function progress(line) {
  if (line.state === "waiting") {
    status(line.before ? `Waiting: ${line.before} before this one.` : "Waiting.");
    return;
  }
  status(line.text ? `${line.text}…` : "Working…");
  if (line.share) $("bar").value = line.share;
}

function said(result) {
  const count = result.people.length;
  if (!count) return "Nobody was found. Drag a box around a person, and press the button again.";
  const surest = Math.max(...result.people.map((person) => person.score));
  const doubt = surest < result.nobody ? " Most likely nobody is there: no score is high." : "";
  return `${count === 1 ? "1 person" : `${count} people`}; the place: ${result.place}.${doubt}`;
}

// ---- what was found -----------------------------------------------------------------------------------------------

async function show(result, other, signal) {
  Object.assign(shown, { person: 0, stage: result.stages.length - 1, part: ALL, marked: null });
  shown.level = result.people[0]?.multipliers.length ?? 0;
  first.setResult(result);
  second.element.hidden = !other;
  if (other) {
    second.setPicture(picture.url, picture.name, picture.width, picture.height);
    second.setResult(other);
  }
  if (!result.people.length) {
    showNothing();
    return;
  }
  await loadMaps(signal);
  const stages = Math.max(result.stages.length, other?.stages.length ?? 1);
  shown.stage = stages - 1;
  $("stage").max = stages - 1;
  $("stage").disabled = $("play").disabled = stages < 2;
  $("scale").max = result.people[0].multipliers.length;
  $("center-choice").hidden = !result.people[0].center_maps;
  makePeople(result);
  makeParts(result);
  $("found").hidden = $("maps").hidden = false;
  draw();
  fillTable();
}

function showNothing() {
  stop();
  $("found").hidden = $("maps").hidden = true;
}

async function loadMaps(signal) {
  const of = async (view) => {
    if (!view.result || view.element.hidden) return;
    const person = view.result.people[shown.person];
    const response = await ask(`/api/results/${view.result.id}/maps/${shown.person}`, { signal });
    view.maps = new Maps(await response.arrayBuffer(), person, view.result.stages.length, view.result.parts.length);
  };
  await Promise.all([of(first), of(second)]);
  makeGround();
}

function draw() {
  first.draw(shown);
  if (!second.element.hidden) second.draw({ ...shown, part: sameThere(shown.part), marked: sameThere(shown.marked) });
  const { stages } = first.result;
  const count = Number($("stage").max) + 1;
  $("stage").value = shown.stage;
  $("stage-text").textContent = `stage ${shown.stage < stages.length ? stages[shown.stage] : shown.stage + 1} of ${count}`;
  $("stage").setAttribute("aria-valuetext", $("stage-text").textContent);
  const person = first.result.people[shown.person];
  const level = shown.level;
  $("scale").value = level;
  $("scale-text").textContent = level < person.multipliers.length
    ? `${person.multipliers[level].toFixed(1)} of the base: ${person.scales[level].toPrecision(3)}`
    : `merged: the sum of ${person.multipliers.length}`;
  $("scale").setAttribute("aria-valuetext", $("scale-text").textContent);
  $("least-text").textContent = shown.least.toFixed(2);
  $("least").setAttribute("aria-valuetext", $("least-text").textContent);
  drawParts();
}

// The same part of the second model, which may order its parts otherwise.
function sameThere(part) {
  if (part === null || part === ALL) return part;
  const { parts } = first.result;
  if (part === parts.length) return second.result.parts.length;
  const there = second.result.parts.indexOf(parts[part]);
  return there < 0 ? ALL : there;
}

function fillTable() {
  const { parts } = first.result;
  const person = first.result.people[shown.person];
  const other = second.element.hidden ? null : second.result.people[shown.person];
  $("distance").hidden = !other;
  $("caption").textContent = `Person ${shown.person + 1}: mean score ${person.score.toFixed(2)}; x, y in px`;
  const rows = parts.map((part, index) => {
    const row = document.createElement("tr");
    const [x, y] = person.joints[index];
    const cells = [x.toFixed(1), y.toFixed(1), person.scores[index].toFixed(2)];
    if (other) {
      const there = second.result.parts.indexOf(part);
      cells.push(there < 0 ? "–" : Math.hypot(x - other.joints[there][0], y - other.joints[there][1]).toFixed(1));
    }
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = words(part);
    row.append(head, ...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
    row.classList.toggle("unsure", person.scores[index] < shown.least);
    row.addEventListener("pointerenter", () => mark(index));
    row.addEventListener("pointerleave", () => mark(null));
    return row;
  });
  $("joints").replaceChildren(...rows);
}

function mark(part) {
  shown.marked = part;
  first.draw(shown);
  if (!second.element.hidden) second.draw({ ...shown, part: sameThere(shown.part), marked: sameThere(part) });
}

async function choose(person, part) {
  if (part !== undefined) shown.part = part;
  if (person !== shown.person) {
    shown.person = person;
    await trying(() => loadMaps());
  }
  for (const [index, button] of [...$("people").children].entries()) check(button, index === shown.person);
  draw();
  fillTable();
}

// ---- people and parts, as rows of choices -------------------------------------------------------------------------

const check = (button, on) => {
  button.setAttribute("aria-checked", on);
  button.tabIndex = on ? 0 : -1;
};

// Arrow keys choose, as in every group of radio buttons.
for (const group of [$("people"), $("parts")]) {
  group.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    const all = [...group.children];
    const at = all.indexOf(event.target);
    if (!step || at < 0) return;
    event.preventDefault();
    const next = all[(at + step + all.length) % all.length];
    next.focus();
    next.click();
  });
}

function radio(text, onClick) {
  const button = document.createElement("button");
  button.type = "button";
  button.setAttribute("role", "radio");
  button.textContent = text;
  button.addEventListener("click", onClick);
  return button;
}

function makePeople(result) {
  $("people").replaceChildren(...result.people.map((_, index) => {
    const button = radio(`Person ${index + 1}`, () => choose(index));
    check(button, index === shown.person);
    return button;
  }));
}

let ground = null; // the picture's part that thumbnails show, in grey

function makeParts(result) {
  const named = [["all parts", ALL], ...result.parts.map((part, index) => [words(part), index]), ["background", result.parts.length]];
  $("parts").replaceChildren(...named.map(([name, part]) => {
    const button = radio("", () => {
      shown.part = part;
      draw();
    });
    button.className = "part";
    button.dataset.part = part;
    button.setAttribute("aria-label", name);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = THUMBNAIL;
    button.append(canvas, Object.assign(document.createElement("span"), { textContent: name }));
    return button;
  }));
}

// A square about the middle scale's box.
function makeGround() {
  const person = first.result.people[shown.person];
  const [x, y, width] = person.boxes[person.boxes.length >> 1];
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = THUMBNAIL;
  const context = canvas.getContext("2d");
  const zoom = THUMBNAIL / width;
  context.setTransform(zoom, 0, 0, zoom, -x * zoom, -y * zoom);
  context.filter = "grayscale(1) brightness(0.6)";
  context.drawImage(first.image, 0, 0, first.width, first.height);
  ground = { canvas, x, y, zoom };
}

function drawParts() {
  for (const button of $("parts").children) {
    const part = Number(button.dataset.part);
    check(button, part === shown.part);
    const context = button.firstChild.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.drawImage(ground.canvas, 0, 0);
    context.setTransform(ground.zoom, 0, 0, ground.zoom, -ground.x * ground.zoom, -ground.y * ground.zoom);
    paint(context, first.maps.of(first.stage(shown), shown.level, part));
  }
}

// ---- sliders and switches -----------------------------------------------------------------------------------------

const follow = (id, kind, set) => $(id).addEventListener(kind, () => {
  set($(id));
  draw();
});
follow("stage", "input", (slider) => {
  stop();
  shown.stage = Number(slider.value);
});
follow("scale", "input", (slider) => { shown.level = Number(slider.value); });
follow("least", "input", (slider) => {
  shown.least = Number(slider.value);
  fillTable();
});
follow("show-joints", "change", (box) => { shown.joints = box.checked; });
follow("show-maps", "change", (box) => { shown.heat = box.checked; });
follow("show-box", "change", (box) => { shown.box = box.checked; });
follow("show-center", "change", (box) => { shown.center = box.checked; });

$("play").addEventListener("click", () => {
  if (playing) {
    stop();
    return;
  }
  shown.stage = 0;
  draw();
  playing = setInterval(() => {
    shown.stage += 1;
    draw();
    if (shown.stage >= Number($("stage").max)) stop();
  }, STEP_MS);
  $("play").textContent = "Stop";
  $("play").setAttribute("aria-pressed", "true");
});

function stop() {
  clearInterval(playing);
  playing = null;
  $("play").textContent = "Play";
  $("play").setAttribute("aria-pressed", "false");
}

// ---- files to take away -------------------------------------------------------------------------------------------

for (const button of $("files").children) {
  button.addEventListener("click", () => trying(async () => {
    const response = await ask(`/api/results/${first.result.id}/files/${button.dataset.kind}?min_score=${shown.least}`);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = picture.name.replace(/\.[^.]*$/, "") + button.dataset.end;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }));
}

// ---- beginning ----------------------------------------------------------------------------------------------------

function offerSecond() {
  const others = about.models.filter((model) => model.name !== $("model").value);
  const before = $("second").value;
  $("second").replaceChildren(new Option("nothing", ""), ...others.map((model) => new Option(model.name, model.name)));
  if (others.some((model) => model.name === before)) $("second").value = before;
  $("second-choice").hidden = !others.length;
}

async function begin() {
  about = await askJson("/api/about");
  $("model").replaceChildren(...about.models.map((model) => new Option(model.name, model.name)));
  offerSecond();
  boxesChanged();
  await take("/api/example");
}

function takeToken() {
  useToken($("token").value);
  $("token-window").close();
  trying(begin);
}
$("token-use").addEventListener("click", takeToken);
$("token").addEventListener("keydown", (event) => {
  if (event.key === "Enter") takeToken();
});

// Whoever goes leaves nothing behind.
addEventListener("pagehide", () => {
  if (picture) ask(`/api/pictures/${picture.id}`, { method: "DELETE", keepalive: true }).catch(() => {});
});

trying(begin);
