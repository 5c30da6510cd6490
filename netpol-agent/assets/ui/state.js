// What the page knows, and how it learns it. Views read `state` and call what is exported here; nothing else changes it.

const NO_QUESTION = { from: "", to: "", port: "", protocol: "TCP" };

export const state = {
  view: "map",
  filters: [],          // [field, value], as the API takes them
  by: "workload",
  graph: { nodes: [], edges: [], left_off: 0 },
  edge: null,           // kinds and names of the ends of the edge that is chosen
  flows: [],            // newest first
  flow: null,           // the record that is chosen
  policy: null,         // { question, words, answer | error }
  question: NO_QUESTION,
  explanation: null,    // { answer | error | waits }
  names: { node: "", pods: [], services: [], policies: [] },
  paused: false,
  connection: "connecting",
  missing: 0,
  error: "",
};

// Rows of the table, and records that a new connection starts with.
const MAX_FLOWS = 500;
const BACKLOG = 200;
// The map is asked for again so long after the first record that it may lack, and every so often where it ages by itself.
const REFRESH_MS = 1000;
const AGE_MS = 5000;
// The browser tries again by itself, unless something in between has answered instead of the agent.
const RETRY_MS = 3000;

let draw = () => {};
let source = null;
let refresh = null;
let drawing = false;
let asked = 0;
let opener = null;

// Many records at a time are one drawing.
export function change(fields) {
  Object.assign(state, fields);
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    draw();
  });
}

export function start(drawer) {
  draw = drawer;
  readAddress();
  window.addEventListener("keydown", ({ key }) => key === "Escape" && state.policy && closePolicy());
  window.addEventListener("hashchange", () => {
    const before = JSON.stringify([state.filters, state.by]);
    const { view } = state;
    readAddress();
    if (state.view !== view) {
      Object.assign(state, { edge: null, flow: null, policy: null });
      loadNames();
    }
    if (JSON.stringify([state.filters, state.by]) !== before) reload();
    change({});
  });
  loadNames();
  reload();
  draw();
}

// Those who come later are suggested too. Without suggestions everything can still be typed.
function loadNames() {
  ask("api/names").then((names) => change({ names }), (error) => console.warn(error.message));
}

async function ask(path, fields = []) {
  let response;
  try {
    response = await fetch(`${path}?${new URLSearchParams(fields)}`);
  } catch {
    throw new Error("no connection to the agent");
  }
  // What stands between may answer in HTML.
  const answer = await response.json().catch(() => ({ error: `${response.status} ${response.statusText}` }));
  if (!response.ok) throw Object.assign(new Error(answer.error), { refused: response.status === 400 });
  return answer;
}

// The address names what is shown, so that it can be kept and passed on: #flows?verdict=dropped&pod=shop/db
function readAddress() {
  const [view, query] = location.hash.slice(1).split("?");
  const fields = [...new URLSearchParams(query ?? "")];
  state.view = ["map", "flows", "explain"].includes(view) ? view : "map";
  if (state.view === "explain") {
    const question = { ...NO_QUESTION, ...Object.fromEntries(fields.filter(([field]) => field in NO_QUESTION)) };
    if (question.from && question.to) explain(question);
    return;
  }
  state.filters = fields.filter(([field]) => field !== "by");
  state.by = fields.some(([field, value]) => field === "by" && value === "service") ? "service" : "workload";
}

// Records have no name of their own; a row that has the focus must stay the same record when others come before it.
const keys = new WeakMap();
let serial = 0;

export function keyOf(record) {
  if (!keys.has(record)) keys.set(record, serial++);
  return keys.get(record);
}

export function addressOf(view, filters = state.filters, by = state.by) {
  const fields = view === "explain" ? Object.entries(state.question).filter(([, value]) => value) : [...filters];
  if (view !== "explain" && by === "service") fields.push(["by", by]);
  return `#${view}${fields.length ? `?${new URLSearchParams(fields)}` : ""}`;
}

export function go(address) {
  location.hash = address;
}

// Shows what other filters let through.
function reload() {
  state.flows = [];
  state.missing = 0;
  loadGraph();
  if (state.paused) {
    source?.close();
    source = null;
    ask("api/flows", [...state.filters, ["last", BACKLOG]])
      .then((flows) => change({ flows: flows.reverse(), error: "" }), (error) => change({ error: error.message }));
    return;
  }
  follow();
}

function follow() {
  source?.close();
  const own = new EventSource(`api/flows/follow?${new URLSearchParams([...state.filters, ["last", BACKLOG]])}`);
  source = own;
  own.addEventListener("open", () => {
    // The agent sends what it has kept once more; another one may have kept nothing.
    state.flows = [];
    if (state.connection === "lost") {
      loadGraph();
      loadNames();
    }
    change({ connection: "live", error: "" });
  });
  own.addEventListener("flow", (event) => {
    state.flows.unshift(JSON.parse(event.data));
    state.flows.length = Math.min(state.flows.length, MAX_FLOWS);
    change({});
    refresh ??= setTimeout(loadGraph, REFRESH_MS);
  });
  for (const kind of ["lost", "missed"]) {
    own.addEventListener(kind, (event) => change({ missing: state.missing + Number(event.data) }));
  }
  own.addEventListener("error", () => {
    if (own !== source) return;
    if (own.readyState !== EventSource.CLOSED) {
      change({ connection: "lost" });
      return;
    }
    // Closed for good: if the agent has refused it, it says why to whoever asks without following.
    ask("api/flows", [...state.filters, ["last", 1]]).then(() => ({}), (error) => error).then((answer) => {
      if (own !== source) return;
      if (answer.refused) {
        change({ connection: "refused", error: answer.message });
        return;
      }
      change({ connection: "lost" });
      setTimeout(() => own === source && follow(), RETRY_MS);
    });
  });
}

function loadGraph() {
  clearTimeout(refresh);
  refresh = null;
  const turn = ++asked;
  ask("api/graph", [...state.filters, ["by", state.by]]).then(
    (graph) => {
      if (turn !== asked) return;
      change({ graph });
      const ages = state.filters.some(([field]) => field === "since");
      if (ages && !state.paused) refresh ??= setTimeout(loadGraph, AGE_MS);
    },
    (error) => turn === asked && change({ error: error.message }),
  );
}

export function pause(paused) {
  change({ paused, connection: paused ? "paused" : "connecting" });
  reload();
}

// A policy of a record, or of an explanation with `words` about what its rule does.
export function showPolicy({ namespace, name, rule = "" }, words) {
  const question = { namespace, name, rule };
  opener = document.activeElement;
  words ??= rule ? "This rule allowed it:" : "It isolates the pod, and none of its rules allowed it.";
  const tell = (fields) => {
    if (Object.keys(fields).length > 0 && state.policy?.question !== question) return;
    change({ policy: { question, words, ...fields } });
    requestAnimationFrame(reveal);
  };
  tell({});
  ask("api/policy", Object.entries(question)).then((answer) => tell({ answer }), (error) => tell({ error: error.message }));
}

// On a narrow screen it stands below everything else.
function reveal() {
  const block = matchMedia("(max-width: 48rem)").matches ? "start" : "nearest";
  document.querySelector(".policy-text")?.scrollIntoView({ block });
}

// The focus goes back to where it came from, or it would be nowhere.
export function closePolicy() {
  change({ policy: null });
  const target = opener?.isConnected ? opener : document.getElementById("main");
  target.focus();
  // It may have had the focus all the time, and then it does not scroll by that.
  requestAnimationFrame(() => target.scrollIntoView({ block: "nearest" }));
}

export function explain(question) {
  const waits = { waits: true };
  change({ question, explanation: waits });
  const isCurrent = () => state.explanation === waits;
  ask("api/explain", Object.entries(question)).then(
    (answer) => isCurrent() && change({ explanation: { answer } }),
    (error) => isCurrent() && change({ explanation: { error: error.message } }),
  );
}
