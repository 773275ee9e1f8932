"use strict";
// The motion viewer. For at most some hundred points a canvas is enough: no library, no build.
(() => {
  const root = document.getElementById("viewer");
  const source = document.getElementById("motion-data");
  if (!root || !source) return;
  const data = JSON.parse(source.textContent);
  const { parents, sides } = data.skeleton;
  const joints = parents.length;
  const find = (what) => root.querySelector(what);
  const stage = find(".stage"), strip = find(".strip"), slider = find("input[type=range]");
  const picks = Object.fromEntries(["mechanism", "level", "window"].map((name) => [name, find(`[data-pick=${name}]`)]));
  const setting = (name) => find(`[data-set=${name}]`);
  const MISSING = -32768, SCALE = 100; // mm of error at the end of the colours
  const TRUTH = "ground truth", INPUT = "input";
  // From blue over yellow to red: visible on light and on dark, and in order for the colour-blind.
  const RAMP = [[76, 120, 168], [114, 183, 178], [222, 196, 90], [245, 133, 24], [214, 39, 40]];
  const HOME = { turn: 0.7, tilt: 0.14, zoom: 1 };
  const view = { ...HOME };
  let shown = null, frame = 0, playing = false, last = 0, visible = new Set();

  // ---- reading ----------------------------------------------------------------------------------
  async function unpack({ step, data: text }, size) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    const moved = new Int16Array(await new Response(stream).arrayBuffer());
    for (let i = size; i < moved.length; i++) moved[i] += moved[i - size]; // wraps as it was packed
    return Float32Array.from(moved, (steps) => (steps === MISSING ? NaN : steps * step));
  }
  const plus = (a, b) => a.map((value, i) => value + b[i]);

  async function load(exhibit) {
    const size = joints * 3;
    const truth = await unpack(data.truths[exhibit.window], size);
    const hidden = await unpack(exhibit.hidden, joints);
    const noise = exhibit.noise ? await unpack(exhibit.noise, size) : null;
    const completions = await Promise.all(exhibit.completions.map(async (one) => {
      const whole = one.whole ? await unpack(one.whole, size) : null;
      const residual = one.residual ? await unpack(one.residual, size) : null;
      const motion = whole || plus(truth, residual);
      const samples = await Promise.all((one.samples || []).map(async (s) => plus(truth, await unpack(s, size))));
      const sigma = one.sigma ? await unpack(one.sigma, size) : null;
      return { ...one, motion, samples, sigma, errors: errorsOf(motion, truth) };
    }));
    const observed = noise ? plus(truth, noise) : truth;
    return { exhibit, truth, observed, hidden, completions, frames: truth.length / size, box: boxOf(truth) };
  }

  function errorsOf(motion, truth) {
    const found = new Float32Array(motion.length / 3);
    for (let i = 0; i < found.length; i++)
      found[i] = Math.hypot(motion[3 * i] - truth[3 * i], motion[3 * i + 1] - truth[3 * i + 1], motion[3 * i + 2] - truth[3 * i + 2]);
    return found;
  }

  function boxOf(motion) {
    const low = [Infinity, Infinity, Infinity], high = [-Infinity, -Infinity, -Infinity];
    motion.forEach((value, i) => {
      if (value < low[i % 3]) low[i % 3] = value;
      if (value > high[i % 3]) high[i % 3] = value;
    });
    const middle = low.map((value, i) => (value + high[i]) / 2);
    return { middle, floor: low[1], reach: Math.max(1, ...high.map((value, i) => (value - low[i]) / 2)) };
  }

  // ---- drawing ----------------------------------------------------------------------------------
  const ink = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const shade = (error) => {
    const place = Math.min(1, (error || 0) / SCALE) * (RAMP.length - 1);
    const i = Math.min(RAMP.length - 2, Math.floor(place)), t = place - i;
    return `rgb(${RAMP[i].map((value, c) => Math.round(value + t * (RAMP[i + 1][c] - value))).join()})`;
  };

  function fit(canvas) {
    const ratio = devicePixelRatio || 1, wide = canvas.clientWidth, tall = canvas.clientHeight;
    if (canvas.width !== Math.round(wide * ratio) || canvas.height !== Math.round(tall * ratio)) {
      canvas.width = Math.round(wide * ratio);
      canvas.height = Math.round(tall * ratio);
    }
    const brush = canvas.getContext("2d");
    brush.setTransform(ratio, 0, 0, ratio, 0, 0);
    brush.clearRect(0, 0, wide, tall);
    return [brush, wide, tall];
  }

  // Rows of a rotation: right, up and towards the viewer.
  function axes() {
    const [c, s, a, b] = [Math.cos(view.turn), Math.sin(view.turn), Math.cos(view.tilt), Math.sin(view.tilt)];
    return [[c, 0, s], [s * b, a, -c * b], [-s * a, b, c * a]];
  }

  function cameraOf(pane) {
    const { middle, reach } = shown.box, [right, up, near] = axes();
    const scale = (0.42 * Math.min(pane.wide, pane.tall) * view.zoom) / reach;
    const dot = (axis, p) => axis[0] * p[0] + axis[1] * p[1] + axis[2] * p[2];
    return {
      right, up, scale,
      place(x, y, z) {
        const p = [x - middle[0], y - middle[1], z - middle[2]], depth = dot(near, p);
        const grow = scale / Math.max(0.2, 1 - depth / (6 * reach)); // a weak perspective
        return [pane.left + pane.wide / 2 + grow * dot(right, p), pane.top + pane.tall / 2 - grow * dot(up, p), depth];
      },
    };
  }

  function floor(brush, camera) {
    const { middle, floor: y, reach } = shown.box;
    brush.strokeStyle = ink("--line");
    brush.lineWidth = 1;
    brush.beginPath();
    for (let i = -2; i <= 2; i++)
      for (const [a, b] of [[[i, -2], [i, 2]], [[-2, i], [2, i]]])
        [a, b].forEach(([u, v], end) => {
          const [px, py] = camera.place(middle[0] + (u * reach) / 2, y, middle[2] + (v * reach) / 2);
          end ? brush.lineTo(px, py) : brush.moveTo(px, py);
        });
    brush.stroke();
  }

  // Draws one skeleton of the current frame; colours is one colour, or one per joint.
  function skeleton(brush, camera, motion, { colours, width = 2.5, alpha = 1, dash = [], hollow = null, dots = true }) {
    const at = (j) => (frame * joints + j) * 3;
    const placed = parents.map((_, j) => camera.place(motion[at(j)], motion[at(j) + 1], motion[at(j) + 2]));
    const colour = (j) => (Array.isArray(colours) ? colours[j] : colours);
    brush.save();
    brush.globalAlpha = alpha;
    brush.lineCap = "round";
    brush.setLineDash(dash);
    const order = parents.map((_, j) => j).filter((j) => parents[j] >= 0)
      .sort((a, b) => placed[a][2] + placed[parents[a]][2] - placed[b][2] - placed[parents[b]][2]);
    for (const j of order) {
      const [a, b] = [placed[j], placed[parents[j]]];
      if (isNaN(a[0]) || isNaN(b[0]) || (hollow && (hollow(j) || hollow(parents[j])))) continue;
      brush.strokeStyle = colour(j);
      brush.lineWidth = width;
      brush.beginPath();
      brush.moveTo(a[0], a[1]);
      brush.lineTo(b[0], b[1]);
      brush.stroke();
    }
    // Thin lines join what has no parent to the root of the body, the origin.
    if (order.length)
      placed.forEach(([x, y], j) => {
        if (parents[j] >= 0 || isNaN(x) || (hollow && hollow(j))) return;
        brush.strokeStyle = colour(j);
        brush.lineWidth = 0.8;
        brush.beginPath();
        brush.moveTo(...camera.place(0, 0, 0).slice(0, 2));
        brush.lineTo(x, y);
        brush.stroke();
      });
    brush.setLineDash([]);
    if (dots)
      placed.forEach(([x, y], j) => {
        if (isNaN(x)) return;
        brush.beginPath();
        brush.arc(x, y, hollow && hollow(j) ? 4 : width + 0.4, 0, 7);
        brush.strokeStyle = brush.fillStyle = colour(j);
        brush.lineWidth = 1.5;
        if (hollow && hollow(j)) {
          brush.fillStyle = ink("--soft");
          brush.fill();
          brush.stroke();
        } else brush.fill();
      });
    brush.restore();
  }

  // Ellipses of two standard deviations, of those ellipsoids whose axes are the coordinates'.
  function ellipses(brush, camera, one) {
    brush.save();
    brush.globalAlpha = 0.16;
    brush.fillStyle = one.colour;
    for (let j = 0; j < joints; j++) {
      const i = (frame * joints + j) * 3, s = [0, 1, 2].map((c) => one.sigma[i + c] ** 2);
      if (!(s[0] + s[1] + s[2] > 0)) continue;
      const sum = (u, v) => u[0] * v[0] * s[0] + u[1] * v[1] * s[1] + u[2] * v[2] * s[2];
      const [xx, xy, yy] = [sum(camera.right, camera.right), -sum(camera.right, camera.up), sum(camera.up, camera.up)];
      const half = (xx + yy) / 2, spread = Math.hypot((xx - yy) / 2, xy);
      const [x, y] = camera.place(one.motion[i], one.motion[i + 1], one.motion[i + 2]);
      brush.beginPath();
      brush.ellipse(x, y, 2 * camera.scale * Math.sqrt(half + spread), 2 * camera.scale * Math.sqrt(Math.max(0, half - spread)),
        Math.atan2(2 * xy, xx - yy) / 2, 0, 7);
      brush.fill();
    }
    brush.restore();
  }

  const isHidden = (j) => shown.hidden[frame * joints + j] > 0;

  function pane(brush, box, parts) {
    const camera = cameraOf(box);
    brush.save();
    brush.beginPath();
    brush.rect(box.left, box.top, box.wide, box.tall);
    brush.clip();
    floor(brush, camera);
    if (visible.has(TRUTH)) skeleton(brush, camera, shown.truth, { colours: ink("--dim"), width: 1.5, alpha: 0.75, dash: [2, 3], dots: false });
    for (const one of parts) {
      if (one === INPUT) continue;
      if (setting("sigma").checked && one.sigma) ellipses(brush, camera, one);
      if (setting("samples").checked)
        for (const sample of one.samples) skeleton(brush, camera, sample, { colours: one.colour, width: 1, alpha: 0.3, dots: false });
      const errors = setting("errors").checked;
      const colours = errors ? parents.map((_, j) => shade(one.errors[frame * joints + j])) : one.colour;
      skeleton(brush, camera, one.motion, { colours, alpha: 0.9 });
    }
    if (parts.includes(INPUT)) {
      // On top, where nothing hides which joints are hollow.
      const side = { left: "#1b7837", right: "#8e44ad", middle: ink("--dim") };
      skeleton(brush, camera, shown.observed, { colours: sides.map((s) => side[s]), width: 1.8, hollow: isHidden });
    }
    if (box.title) {
      brush.fillStyle = ink("--ink");
      brush.font = "12px system-ui, sans-serif";
      brush.fillText(box.title, box.left + 8, box.top + 16, box.wide - 12);
    }
    brush.restore();
  }

  function legend(brush, wide, tall) {
    for (let i = 0; i < 100; i++) {
      brush.fillStyle = shade(i);
      brush.fillRect(wide - 112 + i, tall - 22, 1.5, 8);
    }
    brush.fillStyle = ink("--ink");
    brush.font = "11px system-ui, sans-serif";
    brush.fillText(`error 0 to ${SCALE} mm`, wide - 112, tall - 26);
  }

  function draw() {
    if (!shown) return;
    const [brush, wide, tall] = fit(stage);
    const parts = shown.completions.filter((one) => visible.has(one.name));
    if (visible.has(INPUT)) parts.unshift(INPUT);
    const apart = setting("layout").value === "side" && parts.length > 1;
    const columns = apart ? Math.ceil(Math.sqrt((parts.length * wide) / tall / 0.9)) : 1;
    const rows = apart ? Math.ceil(parts.length / columns) : 1;
    const groups = apart ? parts.map((one) => [one]) : [parts];
    groups.forEach((group, i) => pane(brush, {
      left: ((i % columns) * wide) / columns, top: (Math.floor(i / columns) * tall) / rows,
      wide: wide / columns, tall: tall / rows,
      title: apart ? (group[0] === INPUT ? INPUT : group[0].name) : "",
    }, group));
    if (setting("errors").checked) legend(brush, wide, tall);
    drawStrip(parts.filter((one) => one !== INPUT));
    slider.value = frame;
    find("[data-part=time]").textContent = `frame ${frame + 1} of ${shown.frames}, ${(frame / data.fps).toFixed(2)} s`;
    Object.assign(root.dataset, { frame, panes: groups.length, drawn: parts.map((one) => one.name || one).join("|") });
  }

  const meanError = (one, f) => {
    let [sum, count] = [0, 0];
    for (let j = 0; j < joints; j++) {
      const i = f * joints + j, relevant = shown.exhibit.completions[0]?.whole || shown.hidden[i] > 0;
      if (relevant && one.errors[i] === one.errors[i]) [sum, count] = [sum + one.errors[i], count + 1];
    }
    return count ? sum / count : 0;
  };

  function drawStrip(parts) {
    const [brush, wide, tall] = fit(strip);
    const step = wide / shown.frames, curves = parts.map((one) => Array.from({ length: shown.frames }, (_, f) => meanError(one, f)));
    brush.fillStyle = ink("--mark");
    for (let f = 0; f < shown.frames; f++) {
      let share = 0;
      for (let j = 0; j < joints; j++) share += (shown.hidden[f * joints + j] > 0) / joints;
      // A mark on the time bar, and a column as tall as the share of joints that are hidden.
      if (share) brush.fillRect(f * step, tall - 6 - share * (tall - 22), step + 0.5, 6 + share * (tall - 22));
    }
    // One bad imputer flattens no other: the scale ends at some times the middle one's peak.
    const peaks = curves.map((curve) => Math.max(...curve)).sort((a, b) => a - b);
    const top = Math.max(1, Math.min(peaks[peaks.length - 1] || 0, 8 * (peaks[Math.floor(peaks.length / 2)] || 0)));
    curves.forEach((curve, k) => {
      brush.strokeStyle = parts[k].colour;
      brush.lineWidth = 1.6;
      brush.beginPath();
      curve.forEach((error, f) => brush.lineTo((f + 0.5) * step, tall - 4 - (tall - 18) * Math.min(1.02, error / top)));
      brush.stroke();
    });
    brush.fillStyle = ink("--ink");
    brush.font = "11px system-ui, sans-serif";
    const judged = peaks.some((peak) => peak > 0);
    brush.fillText(judged ? `mean error of hidden joints, 0 to ${top.toFixed(0)} mm` : "share of joints hidden", 6, 12);
    brush.fillRect((frame + 0.5) * step - 1, 0, 2, tall);
  }

  // ---- choosing ---------------------------------------------------------------------------------
  const options = (select, values, wanted) => {
    select.replaceChildren(...values.map(([value, text]) => Object.assign(document.createElement("option"), { value, textContent: text })));
    if (values.some(([value]) => value === wanted)) select.value = wanted;
    select.closest("label").hidden = values.length < 2 && !values[0]?.[1];
  };
  const unique = (values) => [...new Set(values)];

  async function choose(changed) {
    const kept = { window: picks.window.selectedOptions[0]?.textContent };
    const all = data.exhibits;
    if (!changed) options(picks.mechanism, unique(all.map((e) => e.mechanism)).map((m) => [m, m]));
    const here = all.filter((e) => e.mechanism === picks.mechanism.value);
    if (changed !== "level" && changed !== "window") {
      const levels = unique(here.map((e) => e.level));
      // At first a level in the middle: at the least there may be nothing to see.
      options(picks.level, levels.map((l) => [l, l]), picks.level.value || levels[Math.floor(levels.length / 2)]);
    }
    const there = here.filter((e) => e.level === picks.level.value);
    const title = (e) => (e.number === undefined ? e.window : `${e.rank}: ${e.number}`);
    if (changed !== "window") {
      options(picks.window, there.map((e) => [String(all.indexOf(e)), title(e)]));
      const same = there.find((e) => kept.window && title(e).split(":")[0] === kept.window.split(":")[0]);
      if (same) picks.window.value = String(all.indexOf(same));
    }
    root.dataset.ready = "no";
    const exhibit = all[Number(picks.window.value)];
    const found = await load(exhibit);
    if (exhibit !== all[Number(picks.window.value)]) return; // chosen anew meanwhile
    if (!shown) frame = mostHidden(found);
    shown = found;
    frame = Math.min(frame, shown.frames - 1);
    slider.max = shown.frames - 1;
    listNames();
    about();
    draw();
    root.dataset.ready = "yes";
  }

  // The first of the frames in which most joints are hidden.
  function mostHidden({ hidden, frames }) {
    const count = (f) => hidden.slice(f * joints, (f + 1) * joints).reduce((sum, one) => sum + (one > 0), 0);
    return Array.from({ length: frames }, (_, f) => f).reduce((best, f) => (count(f) > count(best) ? f : best), 0);
  }

  function about() {
    const e = shown.exhibit;
    const rank = e.rank === "shown" ? "" : `the ${e.rank} of ${e.of} kept windows by the error of ${e.by}; `;
    const share = shown.hidden.reduce((sum, one) => sum + (one > 0), 0) / shown.hidden.length;
    const left = data.left_out ? ` Not on this page for want of room: ${data.left_out} windows.` : "";
    find("[data-part=about]").textContent = e.by
      ? `Test window ${e.number}, ${e.window}: ${rank}${Number((100 * share).toPrecision(2))} % of joint positions hidden.${left}`
      : `${e.window}: ${shown.frames} frames of ${joints} points; hollow: missing.`;
  }

  function listNames() {
    const first = visible.size === 0;
    const best = shown.completions.filter((one) => one.mpjpe !== undefined && one.mpjpe !== null)
      .reduce((a, b) => (a && a.mpjpe <= b.mpjpe ? a : b), null);
    if (first) {
      visible = new Set([TRUTH, INPUT]);
      const chosen = shown.completions.find((one) => one.name === shown.exhibit.by);
      for (const one of shown.exhibit.by ? [chosen, best] : shown.completions) if (one) visible.add(one.name);
    }
    const entries = [{ name: TRUTH, colour: "" }, { name: INPUT, colour: "" }, ...shown.completions];
    find("[data-part=names]").replaceChildren(...entries.map((one) => {
      const label = document.createElement("label"), box = document.createElement("input");
      Object.assign(box, { type: "checkbox", checked: visible.has(one.name), value: one.name });
      box.addEventListener("change", () => {
        visible[box.checked ? "add" : "delete"](one.name);
        draw();
      });
      label.append(box);
      if (one.colour) {
        const swatch = Object.assign(document.createElement("span"), { className: "swatch" });
        swatch.style.background = one.colour;
        label.append(swatch);
      }
      const more = [one.mpjpe ? `${one.mpjpe >= 100 ? one.mpjpe.toFixed(0) : one.mpjpe.toPrecision(3)} mm` : "", one.samples?.length ? "samples" : "", one.sigma ? "sd" : ""];
      label.append(`${one.name} `, Object.assign(document.createElement("small"), { textContent: more.filter(Boolean).join(", ") }));
      return label;
    }));
  }

  // ---- moving -----------------------------------------------------------------------------------
  function go(to) {
    frame = ((to % shown.frames) + shown.frames) % shown.frames;
    draw();
  }
  function play(on) {
    playing = on;
    last = performance.now();
    find("[data-do=play]").textContent = on ? "Pause" : "Play";
    if (on) requestAnimationFrame(tick);
  }
  function tick(now) {
    if (!playing) return;
    const steps = Math.floor(((now - last) / 1000) * data.fps * Number(setting("speed").value));
    if (steps > 0) {
      last = now;
      go(frame + steps);
    }
    requestAnimationFrame(tick);
  }
  const zoom = (by) => {
    view.zoom = Math.min(12, Math.max(0.2, view.zoom * by));
    draw();
  };
  const actions = {
    play: () => play(!playing), back: () => go(frame - 1), next: () => go(frame + 1),
    view: () => { Object.assign(view, HOME); draw(); },
  };
  for (const [name, action] of Object.entries(actions)) find(`[data-do=${name}]`).addEventListener("click", action);
  slider.addEventListener("input", () => go(Number(slider.value)));
  for (const name of ["layout", "errors", "samples", "sigma"]) setting(name).addEventListener("change", draw);
  for (const [name, select] of Object.entries(picks)) select.addEventListener("change", () => choose(name));
  stage.addEventListener("keydown", (event) => {
    const keys = { " ": actions.play, ArrowLeft: actions.back, ArrowRight: actions.next, "+": () => zoom(1.2), "-": () => zoom(1 / 1.2), 0: actions.view };
    if (!keys[event.key]) return;
    event.preventDefault();
    keys[event.key]();
  });
  const pointers = new Map();
  stage.addEventListener("pointerdown", (event) => {
    stage.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, event);
  });
  stage.addEventListener("pointermove", (event) => {
    const before = pointers.get(event.pointerId);
    if (!before) return;
    if (pointers.size === 2) {
      const [other] = [...pointers.values()].filter((one) => one.pointerId !== event.pointerId);
      const apart = (one) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) || 1;
      zoom(apart(event) / apart(before));
    } else {
      view.turn += (event.clientX - before.clientX) / 150;
      view.tilt = Math.min(1.5, Math.max(-1.5, view.tilt + (event.clientY - before.clientY) / 150));
      draw();
    }
    pointers.set(event.pointerId, event);
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, (event) => pointers.delete(event.pointerId));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 600));
  }, { passive: false });
  const scrub = (event) => {
    if (event.type === "pointerdown") strip.setPointerCapture(event.pointerId);
    if (event.buttons) go(Math.max(0, Math.min(shown.frames - 1, Math.floor((event.offsetX / strip.clientWidth) * shown.frames))));
  };
  strip.addEventListener("pointerdown", scrub);
  strip.addEventListener("pointermove", scrub);
  new ResizeObserver(draw).observe(stage);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  choose();
})();
