// One picture with what a model found in it: belief maps on a canvas, joints as drawings over that.

import { paint } from "./maps.js";

const SVG = "http://www.w3.org/2000/svg";

export function side(...parts) {
  if (parts.some((part) => part.startsWith("right_"))) return "right-side";
  return parts.some((part) => part.startsWith("left_")) ? "left-side" : "middle-side";
}

export const words = (part) => part.replaceAll("_", " ");

export class View {
  // tip: (text or null, event) => void shows what the pointer is at; choose: (person) => void.
  constructor(tip, choose) {
    Object.assign(this, { tip, choose, result: null, maps: null, width: 0, height: 0 });
    this.element = document.createElement("figure");
    this.element.className = "view";
    this.frame = document.createElement("div");
    this.frame.className = "frame";
    this.image = document.createElement("img");
    this.image.alt = "";
    this.canvas = document.createElement("canvas");
    this.canvas.setAttribute("aria-hidden", "true");
    this.layer = document.createElement("div");
    this.layer.className = "layer fixed";
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.caption = document.createElement("figcaption");
    this.frame.append(this.image, this.canvas, this.layer, this.svg);
    this.element.append(this.frame, this.caption);
    new ResizeObserver(() => this.shown && this.draw(this.shown)).observe(this.frame);
  }

  setPicture(url, name, width, height) {
    Object.assign(this, { width, height });
    this.frame.style.setProperty("--ratio", width / height);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.image.src = url;
    this.name = name;
    this.setResult(null);
  }

  setResult(result) {
    Object.assign(this, { result, maps: null });
    const count = result?.people.length;
    const people = count === 1 ? "1 person" : `${count} people`;
    this.image.alt = result ? `${this.name}: ${people}, found by the model ${result.model}` : this.name;
    this.caption.textContent = `${this.name}, ${this.width} × ${this.height} px${result ? ` · ${result.model}: ${people}` : ""}`;
    if (!result) this.draw({});
  }

  // shown: person, stage, level, part (an index, or ALL), least, joints, heat, box, center; marked: a part's index.
  draw(shown) {
    this.shown = shown;
    const shade = this.frame.clientWidth * devicePixelRatio;
    this.canvas.width = Math.max(1, Math.round(shade));
    this.canvas.height = Math.max(1, Math.round((shade * this.height) / (this.width || 1)));
    const person = this.result?.people[shown.person];
    if (person && this.maps && shown.heat) {
      const context = this.canvas.getContext("2d");
      context.scale(this.canvas.width / this.width, this.canvas.height / this.height);
      paint(context, this.maps.of(this.stage(shown), shown.level, shown.part));
    }
    this.svg.replaceChildren();
    if (person && shown.center && person.center_maps) this.drawCenter(person, shown);
    if (person && shown.box) this.drawBox(person, shown);
    if (this.result && shown.joints) {
      const order = this.result.people.map((_, index) => index).filter((index) => index !== shown.person);
      for (const index of [...order, shown.person]) this.drawPerson(index, shown);
    }
  }

  // A net of fewer stages shows its last.
  stage(shown) {
    return Math.min(shown.stage, this.result.stages.length - 1);
  }

  drawPerson(index, shown) {
    const person = this.result.people[index];
    if (!person) return;
    const { parts, limbs } = this.result;
    const group = this.make("g", { class: index === shown.person ? "own" : "other", "data-person": index });
    const seen = person.scores.map((score) => score >= shown.least);
    const at = person.joints.map(([x, y]) => [x + 0.5, y + 0.5]);
    const unit = this.width / (this.frame.clientWidth || this.width);
    for (const [a, b] of limbs) {
      if (!seen[a] || !seen[b]) continue;
      const ends = { x1: at[a][0], y1: at[a][1], x2: at[b][0], y2: at[b][1] };
      group.append(this.make("line", { ...ends, class: "limb-outline" }));
      group.append(this.make("line", { ...ends, class: `limb ${side(parts[a], parts[b])}` }));
    }
    at.forEach(([cx, cy], part) => {
      if (!seen[part]) return;
      const marked = index === shown.person && shown.marked === part ? " marked" : "";
      group.append(this.make("circle", { cx, cy, r: 4.5 * unit, class: `joint ${side(parts[part])}${marked}`, "data-part": parts[part] }));
      const hit = this.make("circle", { cx, cy, r: 11 * unit, class: "hit", "data-part": parts[part] });
      const text = `${words(parts[part])} · ${person.scores[part].toFixed(2)}`;
      hit.addEventListener("pointerenter", (event) => this.tip(text, event));
      hit.addEventListener("pointerleave", () => this.tip(null));
      hit.addEventListener("click", () => this.choose(index, part));
      group.append(hit);
    });
    this.svg.append(group);
  }

  drawBox(person, shown) {
    const boxes = shown.level < person.boxes.length ? [person.boxes[shown.level]] : person.boxes;
    for (const [x, y, width, height] of boxes) {
      this.svg.append(this.make("rect", { x, y, width, height, class: "net-box-outline" }));
      this.svg.append(this.make("rect", { x, y, width, height, class: "net-box" }));
    }
  }

  // Rings at 1, 2 and 3 standard deviations about the peak; of the merged maps, the middle scale's.
  drawCenter(person, shown) {
    const level = Math.min(shown.level, person.center_maps.length) % person.center_maps.length;
    const [cx, cy, sigma] = person.center_maps[shown.level < person.center_maps.length ? level : person.center_maps.length >> 1];
    for (const ring of [0.08, 1, 2, 3]) this.svg.append(this.make("circle", { cx, cy, r: ring * sigma, class: "center-map" }));
  }

  make(tag, attributes) {
    const element = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }
}
