// A person's belief maps, as the server sends them, and their colours.

export const ALL = -1;

// Stops of the colour ramp: share, red, green, blue. Dark violet to pale yellow; lightness only grows.
const STOPS = [
  [0, 22, 16, 60],
  [0.3, 110, 26, 122],
  [0.55, 208, 58, 90],
  [0.78, 247, 140, 50],
  [1, 253, 246, 178],
];

// For every byte of a map: red, green, blue, and how much it hides of the picture; as one number, too.
const RAMP = new Uint8ClampedArray(256 * 4);
const COLOURS = new Uint32Array(RAMP.buffer);
for (let value = 0; value < 256; value++) {
  const share = value / 255;
  const upper = STOPS.findIndex((stop) => stop[0] >= share) || 1;
  const [low, high] = [STOPS[upper - 1], STOPS[upper]];
  const between = (share - low[0]) / (high[0] - low[0]);
  for (let i = 0; i < 3; i++) RAMP[4 * value + i] = low[i + 1] + between * (high[i + 1] - low[i + 1]);
  RAMP[4 * value + 3] = 235 * share ** 0.7;
}

export class Maps {
  // buffer: (stages, levels, parts + 1, h, w) bytes, then (stages, parts + 1, rows, columns).
  constructor(buffer, person, stages, parts) {
    this.bytes = new Uint8Array(buffer);
    this.person = person;
    this.levels = person.multipliers.length;
    this.channels = parts + 1;
    [this.height, this.width] = person.cells;
    [this.rows, this.columns] = person.grid;
    this.largest = new Map(); // of the maps that were asked for, each pixel's largest belief in any part
    this.merged = stages * this.levels * this.channels * this.height * this.width;
  }

  // One map: its bytes, its size, and where it lies on the picture. Level `levels` is the sum of all.
  of(stage, level, part) {
    const summed = level >= this.levels;
    const [height, width] = summed ? [this.rows, this.columns] : [this.height, this.width];
    const size = height * width;
    const first = summed
      ? this.merged + stage * this.channels * size
      : (stage * this.levels + level) * this.channels * size;
    const channel = (index) => this.bytes.subarray(first + index * size, first + (index + 1) * size);
    const box = summed ? this.person.grid_box : this.person.boxes[level];
    if (part === ALL && !this.largest.has(first)) this.largest.set(first, largest(this.channels - 1, size, channel));
    return { values: part === ALL ? this.largest.get(first) : channel(part), width, height, box };
  }
}

function largest(parts, size, channel) {
  const values = new Uint8Array(size);
  for (let part = 0; part < parts; part++) {
    const own = channel(part);
    for (let i = 0; i < size; i++) if (own[i] > values[i]) values[i] = own[i];
  }
  return values;
}

const scratch = document.createElement("canvas");

// Draw a map over a context whose unit is the picture's pixel.
export function paint(context, map) {
  scratch.width = map.width;
  scratch.height = map.height;
  const own = scratch.getContext("2d");
  const image = own.createImageData(map.width, map.height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let i = 0; i < map.values.length; i++) pixels[i] = COLOURS[map.values[i]];
  own.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(scratch, ...map.box);
}
