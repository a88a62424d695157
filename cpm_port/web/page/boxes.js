// Boxes around people: drawn by dragging, moved and resized by handles or keys, each with its pixels and scales.

const EDGES = ["nw", "n", "ne", "e", "se", "s", "sw", "w"];
const SMALLEST = 8;

export class Boxes {
  // layer: the element over the picture; size: () => [width, height] of the picture, px;
  // scales: (box) => text; changed: () => void; left: () => void takes the focus of a box that went.
  constructor(layer, size, scales, changed, left) {
    Object.assign(this, { layer, size, scales, changed, left, list: [] });
    layer.addEventListener("pointerdown", (event) => this.begin(event));
  }

  // [x, y, width, height] of each, whole px.
  get values() {
    return this.list.map((box) => box.value);
  }

  clear() {
    for (const box of this.list) box.element.remove();
    this.list = [];
    this.changed();
  }

  // Put a box in the picture's middle, or a little aside of the last one.
  addInMiddle() {
    const [width, height] = this.size();
    const shift = Math.round(0.06 * width) * this.list.length;
    const [w, h] = [Math.round(0.4 * width), Math.round(0.8 * height)];
    this.add([Math.round((width - w) / 2) + shift, Math.round((height - h) / 2), w, h]).element.focus();
  }

  add(value) {
    const element = document.createElement("div");
    element.className = "box";
    element.tabIndex = 0;
    element.setAttribute("role", "group");
    const label = document.createElement("span");
    label.className = "label";
    label.setAttribute("aria-hidden", "true");
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "remove";
    remove.textContent = "×";
    const handles = EDGES.map((edge) => {
      const handle = document.createElement("span");
      handle.className = `handle ${edge}`;
      handle.dataset.edge = edge;
      return handle;
    });
    element.append(label, ...handles, remove);
    const box = { element, label, remove, value };
    remove.addEventListener("click", () => this.remove(box));
    element.addEventListener("keydown", (event) => this.key(event, box));
    element.addEventListener("pointerdown", (event) => {
      if (event.target === remove) return;
      event.stopPropagation();
      this.drag(event, box, event.target.dataset.edge ?? "move");
    });
    this.layer.append(element);
    this.list.push(box);
    this.set(box, value);
    return box;
  }

  remove(box) {
    box.element.remove();
    this.list = this.list.filter((other) => other !== box);
    this.refresh();
    this.left();
  }

  // Where a pointer is, in the picture's px.
  at(event) {
    const [width, height] = this.size();
    const frame = this.layer.getBoundingClientRect();
    return [((event.clientX - frame.left) / frame.width) * width, ((event.clientY - frame.top) / frame.height) * height];
  }

  // A mouse or a pen draws a new box; a finger scrolls the page.
  begin(event) {
    if (event.target !== this.layer || event.pointerType === "touch" || event.button !== 0 || !this.size()[0]) return;
    const [x, y] = this.at(event);
    this.drag(event, this.add([x, y, 0, 0]), "new");
  }

  drag(event, box, how) {
    event.preventDefault();
    box.element.focus({ preventScroll: true });
    const start = this.at(event);
    const [x, y, w, h] = box.value;
    const element = box.element;
    element.setPointerCapture(event.pointerId);
    const move = (moved) => {
      const [mx, my] = this.at(moved);
      const [dx, dy] = [mx - start[0], my - start[1]];
      if (how === "move") this.set(box, [x + dx, y + dy, w, h]);
      else if (how === "new") this.set(box, corners(...start, mx, my), true);
      else this.set(box, pulled([x, y, w, h], how, dx, dy), true);
    };
    const end = () => {
      element.removeEventListener("pointermove", move);
      element.removeEventListener("pointerup", end);
      element.removeEventListener("pointercancel", end);
      if (box.value[2] < SMALLEST || box.value[3] < SMALLEST) this.remove(box);
    };
    element.addEventListener("pointermove", move);
    element.addEventListener("pointerup", end);
    element.addEventListener("pointercancel", end);
  }

  key(event, box) {
    if (event.target !== box.element) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") this.remove(box);
    else if (!step) return;
    else {
      const unit = Math.max(1, Math.round(Math.max(...this.size()) / 100));
      const [dx, dy] = step.map((s) => s * unit);
      const [x, y, w, h] = box.value;
      this.set(box, event.shiftKey ? [x, y, Math.max(SMALLEST, w + dx), Math.max(SMALLEST, h + dy)] : [x + dx, y + dy, w, h], event.shiftKey);
    }
    event.preventDefault();
  }

  // Keep a box inside the picture: cut it where it was pulled, push it back where it was moved.
  set(box, [x, y, w, h], cut = false) {
    const [width, height] = this.size();
    if (cut) {
      [x, w] = [Math.max(0, x), Math.min(width, x + w) - Math.max(0, x)];
      [y, h] = [Math.max(0, y), Math.min(height, y + h) - Math.max(0, y)];
    }
    [w, h] = [Math.min(Math.round(w), width), Math.min(Math.round(h), height)];
    x = Math.min(Math.max(0, Math.round(x)), width - w);
    y = Math.min(Math.max(0, Math.round(y)), height - h);
    box.value = [x, y, w, h];
    this.refresh();
  }

  // Say anew what every box is: sizes and scales follow the picture and the model.
  refresh() {
    const [width, height] = this.size();
    this.list.forEach((box, index) => {
      const [x, y, w, h] = box.value;
      const scales = this.scales(box.value);
      const place = { left: x / width, top: y / height, width: w / width, height: h / height };
      for (const [side, share] of Object.entries(place)) box.element.style[side] = `${100 * share}%`;
      box.element.classList.toggle("high", y < 0.08 * height);
      box.element.classList.toggle("far", x > 0.5 * width);
      box.label.textContent = `${w} × ${h} px · scales ${scales}`;
      box.element.setAttribute("aria-label", `Box ${index + 1}: x ${x}, y ${y}, ${w} wide, ${h} tall, px; scales ${scales}. `
        + "Arrow keys move it, with Shift they resize it, Delete removes it.");
      box.remove.setAttribute("aria-label", `Remove box ${index + 1}`);
    });
    this.changed();
  }
}

const corners = (x1, y1, x2, y2) => [Math.min(x1, x2), Math.min(y1, y2), Math.abs(x2 - x1), Math.abs(y2 - y1)];

function pulled([x, y, w, h], edge, dx, dy) {
  const [left, right] = [edge.includes("w") ? x + dx : x, edge.includes("e") ? x + w + dx : x + w];
  const [top, bottom] = [edge.startsWith("n") ? y + dy : y, edge.startsWith("s") ? y + h + dy : y + h];
  return corners(left, top, right, bottom);
}
