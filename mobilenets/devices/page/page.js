// The page: what it knows comes from kit.json, what it finds goes back as results.

import { Network, measure, measureItems, median, quantile, tick } from "./timing.js";
import { chances, decoded, planes, seen } from "./pictures.js";

const CHUNK = 24; // items of a table that are loaded at a time
const DRIFT = 1.1; // how many times as slow the references may become
const SHOWN = 5, FRAME_MS = 200;
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10,
  1, 8, 0, 65, 0, 253, 15, 253, 98, 11); // a module with two SIMD instructions

const part = (id) => document.getElementById(id);
const clock = () => performance.now();
const state = { found: {}, agreement: [], stop: null, open: new Set() };

class Stopped extends Error {}

function element(name, text = "", kind = "") {
  const made = document.createElement(name);
  made.textContent = text;
  made.className = kind;
  return made;
}

const ms = (value) => `${value < 10 ? value.toPrecision(3) : value.toFixed(1)} ms`;

function show(id, text, bad = false) {
  part(id).textContent = text;
  part(id).classList.toggle("bad", bad);
}

/** What went wrong, in the page. */
function complain(id, error) {
  show(id, error instanceof Stopped ? error.message : `This did not work: ${error.message ?? error}`, true);
}

async function fetched(name) {
  const answer = await fetch(name);
  if (!answer.ok) throw new Error(`${name}: ${await answer.text()}`);
  return answer;
}

/** onnxruntime-web, once: its threads and its provider cannot be changed on a loaded page. */
async function runtime() {
  if (state.ort) return state.ort;
  state.threads = Number(part("threads").value);
  state.provider = part("webgpu").checked ? "webgpu" : "wasm";
  part("threads").disabled = part("webgpu").disabled = true;
  show("why", "Threads and WebGPU stay as they are until the page is loaded again.");
  const ort = await import(state.provider === "wasm" ? "./ort/ort.wasm.min.mjs" : "./ort/ort.webgpu.min.mjs");
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  ort.env.wasm.numThreads = state.threads;
  ort.env.logLevel = "error";
  state.ort = ort;
  facts();
  return ort;
}

async function session(file) {
  const ort = await runtime();
  const bytes = await (await fetched(file)).arrayBuffer();
  const made = await ort.InferenceSession.create(bytes, { executionProviders: [state.provider] });
  made.newTensor = (numbers, shape) => new ort.Tensor("float32", numbers, shape);
  return made;
}

async function loaded(file, item, kind = "network") {
  const network = new Network(await session(file), item, clock);
  network.isNetwork = kind === "network";
  state.open.add(network);
  return network;
}

/** A phone has little memory: what was loaded goes, however the work ended. */
async function release(networks) {
  for (const one of networks) {
    state.open.delete(one);
    await one.release();
  }
}

/** Lets the page draw; ends the work where the user or the browser has. */
async function pause() {
  await new Promise((resolve) => setTimeout(resolve));
  if (state.stop) throw new Stopped(state.stop);
}

/** Work on the page that nothing else disturbs: the screen stays on, and a hidden tab ends it. */
async function alone(work, statusId) {
  if (state.busy) return;
  state.busy = true;
  state.stop = document.hidden ? "Stopped: the page is hidden. Show it and start again." : null;
  const buttons = ["start", "check", "camera"].map(part);
  for (const one of buttons) one.disabled = true;
  const lock = await navigator.wakeLock?.request("screen").catch(() => null);
  try {
    await work();
  } catch (error) {
    complain(statusId, error);
  } finally {
    await lock?.release();
    state.busy = false;
    for (const one of buttons) one.disabled = false;
  }
}

async function timeAll() {
  const { plan } = state;
  stopCamera();
  part("start").hidden = true;
  part("stop").hidden = part("progress").hidden = false;
  part("times").replaceChildren();
  part("progress").value = 0;
  show("sent", "");
  try {
    show("status", "Loading the runtime and the networks…");
    const references = [];
    for (const file of plan.references) {
      await pause();
      references.push(await loaded(file));
    }
    state.tick_ms = tick(clock);
    facts();
    if (plan.table.length) await timeTable(references);
    if (plan.networks.length) await timeNetworks(references);
    await send();
  } finally {
    await release([...state.open]);
    part("start").hidden = false;
    part("stop").hidden = part("progress").hidden = true;
  }
}

async function timeNetworks(references) {
  const { plan } = state, networks = [];
  for (const one of plan.networks) {
    await pause();
    networks.push(await loaded(one.file, one.item));
  }
  show("status", "Measuring. Leave the phone alone, with this page shown…");
  const told = (done) => (part("progress").value = Math.min(done, 1));
  state.found.networks = await measure(networks, references, {
    seconds: plan.seconds, tickMs: state.tick_ms, pause, told });
  part("times").replaceChildren(...state.found.networks.map(card));
  const { drift } = state.found.networks[0];
  const slower = drift > DRIFT || drift < 1 / DRIFT;
  show("status", slower
    ? `Not steady: the reference networks took ${drift.toFixed(2)} times as long in the end as at first. ` +
      "The phone is hot, saves power or does something else; let it cool and measure again."
    : `Steady: the reference networks took ${drift.toFixed(2)} times as long in the end as at first.`, slower);
}

function card(one) {
  const made = element("div", "", "card"), known = state.plan.networks[one.item];
  const big = element("div", `${ms(median(one.times_ms))} `, "big");
  big.append(element("small", "p50"));
  const list = element("dl");
  for (const [name, value] of [
    ["p90", ms(quantile(one.times_ms, 0.9))], ["fastest", ms(Math.min(...one.times_ms))],
    ["first run", ms(one.first_ms)],
    ["runs", `${(one.times_ms.length * one.group).toLocaleString("en")}` +
      (one.group > 1 ? `, each time the mean of ${one.group}` : "")],
    ["of the reference", `${(median(one.times_ms) / one.reference_ms).toFixed(2)} times`],
    ["SHA-256", known.sha256.slice(0, 16)],
  ]) list.append(element("dt", name), element("dd", value));
  made.append(element("h3", known.name), big, list);
  return made;
}

/** A table is long: what was measured is kept in the browser, and sent chunk by chunk. Each item is
    timed as often as the plan says, far apart. */
async function timeTable(references) {
  const { plan } = state, key = `mobilenets-${plan.kit}-${state.threads}-${state.provider}`;
  const found = JSON.parse(localStorage.getItem(key) ?? "[]");
  const missing = plan.table.flatMap((one) => {
    const known = found.filter(({ item }) => item === one.item).length;
    return Array(Math.max(0, one.times - known)).fill(one);
  });
  const all = found.length + missing.length, left = new Set();
  shuffle(missing);
  for (let start = 0; start < missing.length; start += CHUNK) {
    show("status", `${found.length} of ${all} times are taken. Leave the phone alone, with this page shown…`);
    const items = [];
    for (const one of missing.slice(start, start + CHUNK)) {
      await pause();
      try {
        items.push(await loaded(one.file, one.item, one.kind));
      } catch (error) {
        console.warn(`${one.file} is left out: ${error.message ?? error}`);
        left.add(one.file);
      }
    }
    found.push(...(await measureItems(items, references, { tickMs: state.tick_ms, pause })));
    await release(items);
    localStorage.setItem(key, JSON.stringify(found));
    state.found.timings = found;
    part("progress").value = found.length / all;
    await send();
  }
  state.found.timings = found;
  const noisy = found.filter((one) => one.noisy).length;
  show("status", `${found.length} of ${all} times are taken, ${noisy} of them while the phone was disturbed.` +
    (left.size ? ` The browser cannot run ${left.size} of the files: ${[...left].join(", ")}.` : ""));
}

/** In place: what drifts shall hit all alike. */
function shuffle(items) {
  for (let at = items.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1));
    [items[at], items[other]] = [items[other], items[at]];
  }
}

async function send() {
  const results = {
    agent: navigator.userAgent, model: state.model ?? "", cores: navigator.hardwareConcurrency ?? 1,
    threads: state.threads, provider: state.provider, isolated: self.crossOriginIsolated === true,
    tick_ms: state.tick_ms ?? tick(clock), networks: state.found.networks ?? [],
    timings: state.found.timings ?? [], agreement: state.agreement,
  };
  if (!results.networks.length && !results.timings.length) return;
  part("json").value = JSON.stringify(results);
  part("raw").hidden = false;
  try {
    const answer = await fetch("results", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: part("json").value });
    show("sent", await answer.text(), !answer.ok);
  } catch (error) {
    show("sent", `The results could not be sent (${error.message}); copy them below.`, true);
  }
}

/** The classifier's session, loaded once. */
async function classifier() {
  state.classifier ??= await session(state.tried.file);
  return state.classifier;
}

async function logitsOf(numbers) {
  const { rule } = state.tried.classifier, network = await classifier();
  const image = network.newTensor(numbers, [1, 3, rule.rows, rule.columns]);
  const start = clock(), found = await network.run({ [network.inputNames[0]]: image });
  return { logits: found[network.outputNames[0]].data, took: clock() - start };
}

/** What the network says of a picture or a camera's frame. */
async function look(source) {
  const { rule, labels, apart } = state.tried.classifier;
  const { pixels, width, height } = await decoded(source);
  const cut = seen(rule, pixels, width, height), canvas = part("canvas");
  canvas.width = rule.columns;
  canvas.height = rule.rows;
  canvas.getContext("2d").putImageData(new ImageData(cut, rule.columns, rule.rows), 0, 0);
  part("seen").hidden = false;
  const { logits, took } = await logitsOf(planes(cut));
  const best = chances(logits, apart).map((chance, at) => [chance, labels[at]]);
  best.sort((one, other) => other[0] - one[0]);
  part("answers").replaceChildren(...best.slice(0, SHOWN).map(([chance, label]) => {
    const line = element("li", label), meter = element("meter");
    meter.value = chance;
    line.append(element("b", `${(100 * chance).toFixed(1)} %`), meter);
    return line;
  }));
  show("try-status", `${width} × ${height} pixels; the network took ${ms(took)}.`);
}

async function choosePicture() {
  const [file] = part("file").files;
  stopCamera();
  if (!file) return;
  show("try-status", "Loading…");
  try {
    await look(file);
  } catch (error) {
    complain("try-status", error);
  }
  part("file").value = "";
}

async function camera() {
  if (state.stream) return stopCamera();
  if (!navigator.mediaDevices?.getUserMedia) {
    return show("try-status", "The browser gives the camera only to a secure page (https, or localhost by " +
      "adb reverse). Choose a picture instead: phones offer the camera there.", true);
  }
  try {
    state.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    const video = part("video");
    video.srcObject = state.stream;
    video.hidden = false;
    part("camera").textContent = "Stop the camera";
    await video.play();
    while (state.stream) {
      await look(video);
      await new Promise((resolve) => setTimeout(resolve, FRAME_MS));
    }
  } catch (error) {
    stopCamera();
    complain("try-status", error);
  }
}

function stopCamera() {
  for (const track of state.stream?.getTracks() ?? []) track.stop();
  state.stream = null;
  part("video").hidden = true;
  part("camera").textContent = "Camera";
}

/** The same images, to the pixel, as were given to the artifact on the computer. */
async function compare() {
  const { rule, answers, apart } = state.tried.classifier;
  show("same-status", "Comparing…");
  const bytes = new Uint8Array(await (await fetched(state.tried.pixels)).arrayBuffer());
  const size = 3 * rule.rows * rule.columns;
  let same = 0, difference = 0, largest = 0;
  for (const [at, expected] of answers.entries()) {
    await pause();
    const image = Float32Array.from(bytes.subarray(at * size, (at + 1) * size), (one) => one / 255);
    const { logits } = await logitsOf(image);
    same += agree(logits, expected, apart);
    expected.forEach((one, label) => {
      difference = Math.max(difference, Math.abs(one - logits[label]));
      largest = Math.max(largest, Math.abs(one));
    });
  }
  const error = largest ? difference / largest : difference;
  state.agreement = [{ item: state.tried.item, images: answers.length, same, max_relative_error: error }];
  show("same-status", `${same} of ${answers.length} images: the same answer. Outputs differ by up to ` +
    `${error.toExponential(1)} of the largest.`, same < answers.length);
  await send();
}

function agree(logits, expected, apart) {
  if (apart) return expected.every((one, at) => one > 0 === logits[at] > 0);
  const best = (all) => all.indexOf(Math.max(...all));
  return best(Array.from(logits)) === best(expected);
}

function facts() {
  const rows = [
    ["browser", navigator.userAgent], ["cores", navigator.hardwareConcurrency ?? "unknown"],
    ["secure context", isSecureContext ? "yes" : "no: one thread, a coarse clock, no camera"],
    ["isolated", self.crossOriginIsolated ? "yes" : "no"],
    ["clock", state.tick_ms ? `steps of ${+(1000 * state.tick_ms).toPrecision(2)} µs` : "not yet measured"],
    ["wasm SIMD", WebAssembly.validate(SIMD) ? "yes" : "no: this runtime needs it"],
    ["runtime", `onnxruntime-web ${state.plan.runtime_version}`],
    ["threads", state.threads ?? "chosen above"], ["runs on", state.provider ?? "chosen above"],
  ];
  if (state.model) rows.splice(1, 0, ["model", state.model]);
  part("facts").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", value)]));
}

/** Threads and WebGPU, where the browser has them for this page. */
async function offer() {
  const most = self.crossOriginIsolated ? navigator.hardwareConcurrency ?? 1 : 1;
  const counts = [2, 4, 8].filter((count) => count <= most);
  part("threads").append(...counts.map((count) => new Option(String(count), String(count))));
  const adapter = state.plan.webgpu && (await navigator.gpu?.requestAdapter().catch(() => null));
  part("webgpu").disabled = !adapter;
  part("why").textContent = self.crossOriginIsolated
    ? "One thread of wasm is the default: for small networks others are often slower, or crash."
    : "More threads and WebGPU need a secure page: on Android, adb reverse and http://localhost.";
}

/** Where a network that takes pictures is on the page. */
function offerPictures() {
  state.tried = state.plan.networks.find((one) => one.classifier);
  if (!state.tried) return;
  const { images, rule_words: words } = state.tried.classifier;
  part("try").hidden = part("same").hidden = false;
  part("try-name").textContent = state.tried.name;
  part("rule").textContent = `${words} Resized here as Pillow does it, to the pixel; the browser's own ` +
    "decoder may differ from the computer's by a step of colour. 16-bit grey is read as the browser does it.";
  part("same-intro").textContent = `${images}, as exact pixels: what differs is the runtime, not a decoder.`;
}

async function begin() {
  state.plan = await (await fetched("kit.json")).json();
  const { plan } = state, agent = navigator.userAgentData;
  state.model = (await agent?.getHighEntropyValues?.(["model"]).catch(() => null))?.model;
  const count = plan.networks.length, several = count > 1 ? "s" : "", table = plan.table.length;
  part("intro").textContent = table
    ? `A latency table: ${table} blocks and networks. It takes minutes; if the page is closed, it goes on where it was.`
    : `${count} network${several}: 10 runs to warm up, then at least 50 runs and ${plan.seconds} s ` +
      `each, interleaved with ${plan.references.length} fixed reference networks.`;
  await offer();
  facts();
  offerPictures();
  part("start").textContent = table ? "Measure the table" : "Measure";
  part("start").disabled = false;
}

part("start").addEventListener("click", () => alone(timeAll, "status"));
part("stop").addEventListener("click", () => (state.stop = "Stopped."));
part("check").addEventListener("click", () => alone(compare, "same-status"));
part("camera").addEventListener("click", camera);
part("file").addEventListener("change", choosePicture);
part("copy").addEventListener("click", () => {
  part("json").select();
  navigator.clipboard?.writeText(part("json").value);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && state.busy) state.stop = "Stopped: the page was hidden, where browsers slow it. Start again.";
  if (document.hidden) stopCamera();
});
begin().catch((error) => {
  part("error").hidden = false;
  complain("error", error);
});
