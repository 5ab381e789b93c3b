// A batch as it runs. Texts of others become text alone; only https: is linked.

const MARKS = { unknown: "?", paused: "‖", failed: "✕", rejected: "⊘", cancelled: "–", sending: "↑", running: "▸", planned: "·", succeeded: "✓" };
const LABELS = Object.keys(MARKS);
const AGAIN = new Set(["failed", "cancelled", "rejected", "unknown"]);
const HEIGHT = 32; // of a row, as in the style sheet
const MORE = 12; // rows beyond
const LANES = 400;

const $ = (id) => document.getElementById(id);
const { format } = new Intl.NumberFormat();
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

let fields = []; // of a row
let rows = new Map();
let head = { limits: [], actions: [] };
let version = "";
let shown = []; // rows that the filters leave, in order
let only = new Set(); // labels
let span = null; // of time, [from, until]
let drawn = false; // it was asked for
let stale = true; // `shown` is older than what makes it
let clockAt = { now: 0, at: 0, speed: 1 };
let opened = null; // number of the item in the dialog
let told = -Infinity;
let latest = 0; // time that is known of

// -- the server

const token = (() => {
  const given = location.hash.slice(1);
  if (given) {
    sessionStorage.setItem("token", given);
    history.replaceState(null, "", location.pathname + location.search);
  }
  return sessionStorage.getItem("token");
})();

async function call(path, body) {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  if (body) headers["content-type"] = "application/json";
  const answer = await fetch(`api/${path}`, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({}));
  throw Object.assign(new Error(problem.detail ?? `Error ${answer.status}`), { status: answer.status });
}

const ask = async (path) => (await call(path)).json();

const now = () => clockAt.now + ((performance.now() - clockAt.at) / 1000) * clockAt.speed;

async function load() {
  const whole = await ask("snapshot");
  fields = Object.keys(whole.columns);
  const columns = Object.values(whole.columns);
  rows = new Map(columns[0].map((seq, index) => [seq, rowOf(columns.map((column) => column[index]))]));
  head = whole.head;
  version = whole.version;
  change();
}

function rowOf(values) {
  const row = Object.fromEntries(fields.map((name, index) => [name, values[index]]));
  latest = Math.max(latest, row.created, row.ended);
  return row;
}

function hear(event) {
  const name = /^event: (.*)$/m.exec(event)?.[1];
  if (name === "reload") version = "";
  if (name !== "delta") return;
  const news = JSON.parse(/^data: (.*)$/m.exec(event)[1]);
  version = news.version;
  if (head.trouble !== news.head.trouble) trouble(news.head.trouble ?? "");
  head = news.head;
  for (const values of news.rows) {
    const row = rowOf(values);
    rows.set(row.seq, row);
    if (row.seq === opened) open(row.seq);
  }
  if (news.rows.length) change();
  else draw();
}

// A browser opens six connections to a server; a tab that nobody sees keeps none, and asks twice a minute.
let reader, wake;
document.onvisibilitychange = () => {
  reader?.cancel();
  wake?.();
  drawn = false; // no frame comes while it is hidden
  draw();
};
const sleep = (ms) => new Promise((done) => setTimeout((wake = done), ms));

async function follow() {
  for (let pause = 1000; ; pause = Math.min(pause * 2, 30000)) {
    try {
      clockAt = { ...(await ask("time")), at: performance.now() }; // it stands still in sleep
      if (!version) await load();
      const answer = await call(`${document.hidden ? "news" : "events"}?after=${version}`);
      trouble(head.trouble ?? "");
      reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let rest = ""; ; ) {
        const { value, done } = await reader.read();
        if (done) break;
        const events = (rest + value).split("\n\n");
        rest = events.pop();
        events.forEach(hear);
        pause = 500;
      }
    } catch (error) {
      if (error.status === 403) return trouble("This link is no longer valid: open the newest one.");
      trouble(error.status ? error.message : "The batch cannot be reached: its process may have ended.");
    }
    await sleep(!document.hidden ? pause : head.driver ? 30000 : 1e9);
  }
}

function trouble(text) {
  $("trouble").textContent = text;
  $("trouble").hidden = !text;
}

// -- what is to be seen

function change() {
  stale = true;
  draw();
}

function draw() {
  if (drawn) return;
  drawn = true;
  (document.hidden ? setTimeout : requestAnimationFrame)(() => {
    drawn = false;
    if (stale) choose();
    drawHead();
    drawLimits();
    drawActions();
    drawRows();
    drawLanes();
    stale = false;
  });
}

const end = (row) => row.ended ?? (["running", "paused"].includes(row.label) ? (head.driver ? now() : latest) : row.created);
const seconds = (row) => (row.created === null ? 0 : Math.max(0, end(row) - row.created));

const ORDERS = {
  bad: (a, b) => a.rank - b.rank,
  new: (a, b) => (b.created ?? -1) - (a.created ?? -1),
  long: (a, b) => seconds(b) - seconds(a),
  file: (a, b) => a.seq - b.seq,
};

function choose() {
  const wanted = $("search").value.trim().toLowerCase();
  shown = [];
  for (const row of rows.values()) {
    row.rank ??= LABELS.indexOf(row.label);
    if (only.size && !only.has(row.label)) continue;
    if (span && (row.created === null || row.created > span[1] || end(row) < span[0])) continue;
    if (wanted && !(row.text ??= `${row.key}\n${row.run}\n${row.note}\n${row.prompt}`.toLowerCase()).includes(wanted)) continue;
    shown.push(row);
  }
  shown.sort(ORDERS[$("order").value]);
}

function spanOf(s) {
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 360000) return `${(s / 3600).toFixed(1)} h`;
  return `${Math.round(s / 86400)} d`;
}

const until = (time) => spanOf(Math.max(0, time - now()));

function el(tag, props, ...children) {
  const made = Object.assign(document.createElement(tag), props);
  made.append(...children);
  return made;
}

const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

function link(url, text) {
  try {
    if (new URL(url).protocol === "https:") return el("a", { href: url, rel: "noreferrer noopener", target: "_blank" }, text);
  } catch {}
  return text;
}

// -- head

const states = new Map();
for (const label of LABELS) {
  const count = el("span");
  const button = el("button", { className: label, ariaPressed: "false", hidden: true }, `${MARKS[label]} ${label} `, count);
  button.onclick = () => {
    if (!only.delete(label)) only.add(label);
    button.ariaPressed = String(only.has(label));
    $("scroll").scrollTop = 0;
    change();
  };
  const part = el("i", { className: label });
  states.set(label, { button, count, part });
  $("states").append(button);
  $("bar").prepend(part);
}

function drawHead() {
  const counts = Object.fromEntries(LABELS.map((label) => [label, 0]));
  let sum = 0;
  let ends = 0;
  for (const row of rows.values()) {
    counts[row.label]++;
    if (row.ended !== null && row.created !== null) {
      sum += row.ended - row.created;
      ends++;
    }
  }
  const open = counts.sending + counts.running + counts.planned;
  const done = rows.size - open - counts.paused;
  for (const [label, { button, count, part }] of states) {
    put(count, format(counts[label]));
    button.hidden = !counts[label] && !only.has(label);
    part.style.width = `${(100 * counts[label]) / (rows.size || 1)}%`;
  }
  const standing = `${format(done)} of ${format(rows.size)} done${expected(counts, open, sum / (ends || 1))}`;
  put($("name"), head.name ?? "Batch");
  put($("standing"), standing);
  put($("driver"), head.driver ? `driven by ${head.driver}${head.paused ? "; paused" : ""}` : "not driven now");
  $("bar").ariaLabel = standing;
  document.title = `${rows.size ? Math.floor((100 * done) / rows.size) : 0} % ${head.name ?? ""}`;
  if (performance.now() - told > 10000) {
    told = performance.now();
    const bad = LABELS.slice(0, 5).filter((label) => counts[label]);
    put($("news"), [standing, ...bad.map((label) => `${counts[label]} ${label}`)].join(", "));
  }
}

function expected(counts, open, mean) {
  const create = head.limits.find((limit) => limit.name === head.create);
  if (!open || head.paused || !head.driver) return "";
  let left = mean;
  if (counts.planned && create) {
    const rounds = Math.ceil((counts.planned + create.used) / create.limit) - 1;
    const first = create.free === null ? create.period : Math.max(0, create.free - now());
    if (rounds > 0) left += first + (rounds - 1) * create.period;
  }
  return left >= 1 ? `; over in about ${spanOf(left)}` : "";
}

const budgets = new Map();

function drawLimits() {
  for (const limit of head.limits) {
    if (!budgets.has(limit.name)) {
      const text = el("span");
      const meter = el("meter", { ariaLabel: limit.name, min: 0 });
      budgets.set(limit.name, { text, meter });
      $("budgets").append(el("div", {}, text, meter));
    }
    const { text, meter } = budgets.get(limit.name);
    const said = [`${limit.name}: ${limit.used} of ${limit.limit} in ${spanOf(limit.period)}`];
    if (limit.free !== null) said.push(`next free in ${until(limit.free)}`);
    if (limit.line) said.push(`${limit.line} in line`);
    if (limit.held !== null) said.push(`held for ${until(limit.held)}`);
    if (limit.pace !== null) said.push(`${limit.pace} a second`);
    if (limit.rejections) said.push(`${limit.rejections} × 429`);
    put(text, said.join(", "));
    meter.max = limit.limit;
    meter.value = limit.used;
  }
}

// -- actions

const can = (action) => head.actions.includes(action);
const again = el("button", {});
const pause = el("button", {});
const most = el("input", { type: "number", min: "1", id: "most" });
const mostLabel = el("label", {}, "At most at once ", most);
$("actions").append(again, pause, mostLabel);

async function act(action, wish = {}) {
  try {
    await call(action, wish);
  } catch (error) {
    trouble(error.message);
  }
}

const retryable = () => shown.filter((row) => AGAIN.has(row.label));

function drawActions() {
  const count = can("retry") ? retryable().length : 0;
  again.hidden = !count;
  put(again, `Retry ${format(count)}…`);
  pause.hidden = !can("pause");
  put(pause, head.paused ? "Create again" : "Pause creating");
  mostLabel.hidden = !can("active");
  if (document.activeElement !== most) most.value = head.active ?? "";
}

again.onclick = async () => {
  const items = retryable().map((row) => [row.seq, row.attempt]);
  const text = `Retry ${format(items.length)}? Each gets another run, which your plan counts.`;
  if (!confirm(text)) return;
  for (let from = 0; from < items.length; from += 3000) await act("retry", { items: items.slice(from, from + 3000) });
};
pause.onclick = () => act(head.paused ? "resume" : "pause");
most.onchange = () => act("active", { most: most.value ? Number(most.value) : null });

// -- table

const lines = new Map(); // rows of the table
const spacer = () => el("tr", { className: "pad", ariaHidden: "true" }, el("td"));
const above = spacer();
const below = spacer();
$("rows").append(above, below);

function line(row) {
  const button = el("button", { onclick: () => open(row.seq) });
  const cells = [el("td"), el("td", {}, button, " ", el("span")), el("td"), el("td"), el("td")];
  button.dataset.seq = row.seq;
  return { tr: el("tr", {}, ...cells), button, cells };
}

function fill(it, row, index) {
  it.tr.ariaRowIndex = String(index + 2);
  const [state, key, run, time, came] = it.cells;
  put(time, row.created === null ? "" : spanOf(seconds(row)));
  if (it.row === row) return;
  it.row = row;
  state.className = row.label;
  put(state, `${MARKS[row.label]} ${row.label}`);
  put(it.button, row.key);
  put(key.lastChild, row.prompt);
  run.replaceChildren(row.url ? link(row.url, row.run) : row.run);
  came.replaceChildren(...(row.pull ? [link(row.pull, "pull request"), " "] : []), row.note);
}

function drawRows() {
  const box = $("scroll");
  const first = Math.max(0, Math.floor(box.scrollTop / HEIGHT) - MORE);
  const last = Math.min(shown.length, Math.ceil((box.scrollTop + box.clientHeight) / HEIGHT) + MORE);
  const part = shown.slice(first, last);
  const there = new Set(part.map((row) => row.seq));
  const focused = document.activeElement?.dataset?.seq;
  for (const [seq, it] of lines) {
    if (there.has(seq)) continue;
    it.tr.remove();
    lines.delete(seq);
  }
  above.firstChild.style.height = `${first * HEIGHT}px`;
  below.firstChild.style.height = `${(shown.length - Math.max(first, last)) * HEIGHT}px`;
  let next = above.nextSibling;
  part.forEach((row, index) => {
    if (!lines.has(row.seq)) lines.set(row.seq, line(row));
    const it = lines.get(row.seq);
    fill(it, row, first + index);
    if (it.tr === next) next = next.nextSibling;
    else $("rows").insertBefore(it.tr, next);
  });
  const kept = lines.get(Number(focused));
  if (kept && document.activeElement !== kept.button) kept.button.focus({ preventScroll: true });
  $("table").ariaRowCount = String(shown.length + 1);
  put($("found"), shown.length === rows.size ? "" : `${format(shown.length)} of ${format(rows.size)}`);
}

$("scroll").onscroll = drawRows;
$("scroll").onkeydown = (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  const seq = Number(event.target.dataset.seq);
  if (!step || !seq) return;
  event.preventDefault();
  const index = shown.findIndex((row) => row.seq === seq) + step;
  if (!shown[index]) return;
  const box = $("scroll");
  box.scrollTop = Math.min(Math.max(box.scrollTop, (index + 2) * HEIGHT - box.clientHeight), index * HEIGHT);
  drawRows();
  lines.get(shown[index].seq).button.focus({ preventScroll: true });
};
$("search").oninput = change;
$("order").onchange = change;

// -- timeline: each run in the lowest lane that is free, so the height is how many there were at once

const lanes = $("lanes");
let placed = []; // [row, lane]
let depth = 1;
let axis = [0, 1];
let drag = null;

function place() {
  const timed = shown.filter((row) => row.created !== null).sort((a, b) => a.created - b.created);
  const ends = [];
  placed = timed.map((row) => {
    let lane = ends.findIndex((until) => until <= row.created);
    if (lane < 0) lane = Math.min(ends.length, LANES);
    ends[lane] = Math.max(end(row), ends[lane] ?? 0);
    return [row, lane];
  });
  depth = Math.max(1, ends.length);
  const until = placed.reduce((latest, [row]) => Math.max(latest, end(row)), -Infinity);
  axis = span ?? (placed.length ? [timed[0].created, Math.max(until, timed[0].created + 1)] : [0, 1]);
}

const moving = () => head.driver && placed.some(([row]) => row.label === "running");

function drawLanes() {
  if (stale || moving()) place();
  const ratio = devicePixelRatio;
  const { clientWidth: width, clientHeight: height } = lanes;
  lanes.width = width * ratio; // which clears it
  lanes.height = height * ratio;
  const pen = lanes.getContext("2d");
  pen.scale(ratio, ratio);
  const colors = Object.fromEntries([...states].map(([label, { part }]) => [label, getComputedStyle(part).color]));
  const scale = width / (axis[1] - axis[0]);
  const thick = height / depth;
  const gap = thick > 3 ? 1 : 0;
  for (const [row, lane] of placed) {
    const from = (row.created - axis[0]) * scale;
    pen.fillStyle = colors[row.label];
    pen.fillRect(from, height - (lane + 1) * thick, Math.max(1, (end(row) - axis[0]) * scale - from - gap), Math.max(0.7, thick - gap));
  }
  if (drag) {
    pen.globalAlpha = 0.25;
    pen.fillStyle = getComputedStyle(document.body).color;
    pen.fillRect(Math.min(...drag), 0, Math.abs(drag[1] - drag[0]), height);
  }
  const time = (seconds) => (placed.length ? clock.format(seconds * 1000) : "");
  put($("from"), time(axis[0]));
  put($("until"), time(axis[1]));
  lanes.ariaLabel = placed.length ? `${placed.length} runs from ${time(axis[0])} to ${time(axis[1])}, at most ${depth} at once` : "No runs yet";
  $("unspan").hidden = !span;
}

lanes.onpointerdown = (event) => {
  drag = [event.offsetX, event.offsetX];
  lanes.setPointerCapture(event.pointerId);
};
lanes.onpointermove = (event) => {
  if (!drag) return;
  drag[1] = event.offsetX;
  drawLanes();
};
lanes.onpointerup = () => {
  if (!drag) return;
  const [from, until] = [Math.min(...drag), Math.max(...drag)];
  drag = null;
  const each = (axis[1] - axis[0]) / lanes.clientWidth;
  if (until - from > 4) span = [axis[0] + from * each, axis[0] + until * each];
  change();
};
lanes.onpointercancel = () => (drag = null);
$("unspan").onclick = () => {
  span = null;
  change();
};

// -- one item

const region = (name, text) => el("pre", { tabIndex: 0, ariaLabel: name, role: "region" }, text);
const log = region("Log", "");

async function tail() {
  const seq = opened;
  if (!log.isConnected || !seq || document.hidden) return;
  const rows = await ask(`items/${seq}/log`).catch((error) => [error.message]);
  if (seq === opened) put(log, rows.join("\n"));
}
setInterval(tail, 5000);

async function open(seq) {
  opened = seq;
  const item = await ask(`items/${seq}`).catch((error) => trouble(error.message));
  if (opened !== seq) return; // it was closed meanwhile
  if (!item) return (opened = $("detail").open ? seq : null);
  const time = (seconds) => (seconds === null ? "" : new Date(seconds * 1000).toLocaleString());
  const facts = [
    ["Status", el("span", { className: item.label }, `${MARKS[item.label]} ${item.label}`)],
    ["Seen", [item.phase, time(item.seen)].filter(Boolean).join(" since ")],
    ["Run", item.url ? link(item.url, item.run) : item.run],
    ["Attempt", item.attempt],
    ["Created", time(item.created)],
    ["Ended", time(item.ended)],
    ...item.pulls.map((url) => ["Pull request", link(url, url)]),
    ...item.before.map((was) => [`Attempt ${was.attempt}`, [`run ${was.run}`, time(was.ended), was.error].filter(Boolean).join(", ")]),
  ];
  const list = el("dl", {}, ...facts.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  const texts = [["Error", item.error], ["Summary", item.summary], ["Result", item.result], ["Prompt", item.prompt]];
  const parts = texts.filter(([, text]) => text).flatMap(([name, text]) => [el("h2", {}, name), region(name, text)]);
  if (can("retry") && AGAIN.has(item.label)) {
    parts.unshift(el("button", { onclick: () => act("retry", { items: [[item.seq, item.attempt]] }) }, "Retry"));
  }
  if (can("answer") && item.label === "paused") {
    const onclick = () => {
      const text = prompt("What the run is told, to go on:");
      if (text) act("answer", { items: [[item.seq, item.attempt]], text });
    };
    parts.unshift(el("button", { onclick }, "Answer…"));
  }
  if (head.logs && item.label === "running") parts.unshift(el("h2", {}, "Log"), log);
  put($("detail-name"), item.key);
  $("content").replaceChildren(list, ...parts);
  tail();
  if (!$("detail").open) $("detail").showModal();
}
$("detail").onclose = () => (opened = log.textContent = null);

// -- life

window.onresize = draw;
matchMedia("(prefers-color-scheme: dark)").onchange = draw;
setInterval(() => (head.limits.length || moving()) && draw(), 1000);
follow();
