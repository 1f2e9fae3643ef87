// From a picture of any size to a network's input, by the rule in the artifact's metadata.
//
// The resizing is Pillow's, number for number: a canvas has its own filters, which differ from
// browser to browser. What may differ from the computer is how the browser decodes the file.

const BITS = 22; // of the weights' fractions, as in Pillow
const MAX_RATIO = 100; // of the sides; resized by the short one, such a picture takes any memory
const LARGEST = 16e6; // pixels of a canvas on iOS
const FILTERS = {
  bilinear: { support: 1, at: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: {
    support: 2,
    at(x) {
      const a = -0.5, far = Math.abs(x);
      if (far < 1) return ((a + 2) * far - (a + 3)) * far * far + 1;
      return far < 2 ? (((far - 5) * far + 8) * far - 4) * a : 0;
    },
  },
};

/** Half to even, as Python rounds. */
export function round(value) {
  const near = Math.round(value);
  return Math.abs(value % 1) === 0.5 && near % 2 ? near - 1 : near;
}

/** Width and height before the centre is cut. */
export function resized(rule, width, height) {
  const [tall, wide] = rule.covered;
  if (rule.resize === "stretch") return [wide, tall];
  if (rule.rows === rule.columns) {
    const short = Math.min(width, height);
    return [width, height].map((side) => Math.floor((rule.short_side * side) / short));
  }
  const scale = Math.max(tall / height, wide / width);
  return [Math.max(wide, round(width * scale)), Math.max(tall, round(height * scale))];
}

/** For each of `to` places on a line of `from`: where its weights begin, and the weights. */
function weights(from, to, filter) {
  const scale = from / to, stretch = Math.max(scale, 1), support = filter.support * stretch;
  const shrink = 1 / stretch;
  return Array.from({ length: to }, (_, place) => {
    const center = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(from, Math.trunc(center + support + 0.5));
    const parts = [];
    for (let at = first; at < end; at++) parts.push(filter.at((at - center + 0.5) * shrink));
    const sum = parts.reduce((all, part) => all + part, 0);
    return { first, parts: parts.map((part) => fixed(sum ? part / sum : part)) };
  });
}

const fixed = (part) => Math.trunc(part * 2 ** BITS + (part < 0 ? -0.5 : 0.5));

const clipped = (sum) => Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));

/** Lines of `width` pixels of four bytes, each resized to `to`. */
function across(pixels, width, height, to, filter) {
  const out = new Uint8ClampedArray(to * height * 4), table = weights(width, to, filter);
  for (let row = 0; row < height; row++) {
    for (let place = 0; place < to; place++) {
      const { first, parts } = table[place], target = (row * to + place) * 4;
      for (let colour = 0; colour < 3; colour++) {
        let sum = 2 ** (BITS - 1), from = (row * width + first) * 4 + colour;
        for (let at = 0; at < parts.length; at++, from += 4) sum += pixels[from] * parts[at];
        out[target + colour] = clipped(sum);
      }
      out[target + 3] = 255;
    }
  }
  return out;
}

/** The same for columns of `height` pixels. */
function down(pixels, width, height, to, filter) {
  const out = new Uint8ClampedArray(width * to * 4), table = weights(height, to, filter);
  for (let place = 0; place < to; place++) {
    const { first, parts } = table[place];
    for (let at = 0; at < width * 4; at++) {
      let sum = 2 ** (BITS - 1), from = first * width * 4 + at;
      for (let part = 0; part < parts.length; part++, from += width * 4) {
        sum += pixels[from] * parts[part];
      }
      out[place * width * 4 + at] = clipped(sum);
    }
  }
  return out;
}

/** The resized picture: across, then down. Where the height shrinks much more, Pillow 13 (`tall_first`)
    goes down first, which changes some numbers by one. */
function resize(rule, pixels, width, height) {
  const filter = FILTERS[rule.interpolation], [wide, tall] = resized(rule, width, height);
  const acrossOf = (some, rows) => (wide === width ? some : across(some, width, rows, wide, filter));
  const downOf = (some, columns) => (tall === height ? some : down(some, columns, height, tall, filter));
  if (rule.tall_first && tall < height && height - tall > 2 * (width - wide)) {
    return acrossOf(downOf(pixels, width), tall);
  }
  return downOf(acrossOf(pixels, height), wide);
}

/** RGBA pixels of `width` x `height` as the network's, `rule.columns` x `rule.rows`. */
export function seen(rule, pixels, width, height) {
  const [wide, tall] = resized(rule, width, height), found = resize(rule, pixels, width, height);
  const left = round((wide - rule.columns) / 2), top = round((tall - rule.rows) / 2);
  const cut = new Uint8ClampedArray(rule.columns * rule.rows * 4);
  for (let row = 0; row < rule.rows; row++) {
    const start = ((top + row) * wide + left) * 4;
    cut.set(found.subarray(start, start + rule.columns * 4), row * rule.columns * 4);
  }
  return cut;
}

/** RGBA bytes as float32 planes in [0, 1]. */
export function planes(pixels) {
  const area = pixels.length / 4, out = new Float32Array(3 * area);
  for (let at = 0; at < area; at++) {
    for (let colour = 0; colour < 3; colour++) out[colour * area + at] = pixels[at * 4 + colour] / 255;
  }
  return out;
}

/** The pixels of a file or a video's frame, upright, on white, its colour profile ignored; of more
    than a canvas can hold everywhere, the browser makes fewer. */
export async function decoded(source) {
  const picture = source instanceof Blob ? await bitmap(source) : source;
  const width = picture.videoWidth ?? picture.width, height = picture.videoHeight ?? picture.height;
  if (Math.max(width, height) > MAX_RATIO * Math.min(width, height)) {
    throw new Error(`one side is over ${MAX_RATIO} times the other`);
  }
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { alpha: false, willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(picture, 0, 0);
  return { pixels: context.getImageData(0, 0, width, height).data, width, height };
}

async function bitmap(file) {
  const options = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
  const whole = await createImageBitmap(file, options);
  const scale = Math.sqrt(LARGEST / (whole.width * whole.height));
  if (scale >= 1) return whole;
  const [resizeWidth, resizeHeight] = [whole.width, whole.height].map((side) =>
    Math.max(1, Math.floor(side * scale)));
  return createImageBitmap(whole, { ...options, resizeWidth, resizeHeight, resizeQuality: "high" });
}

/** What each label is worth of these logits: probabilities that add up to one, or each by itself. */
export function chances(logits, apart) {
  if (apart) return Array.from(logits, (one) => 1 / (1 + Math.exp(-one)));
  const most = Math.max(...logits), powers = Array.from(logits, (one) => Math.exp(one - most));
  const sum = powers.reduce((all, one) => all + one, 0);
  return powers.map((one) => one / sum);
}
