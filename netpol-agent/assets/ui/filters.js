// The filters of `netpolctl flows`, under the same names. The address holds those in force.

import { addressOf, change, go, state } from "./state.js";
import { html } from "./view.js";

// Field, and what a value looks like or which ones there are.
const FIELDS = {
  verdict: ["dropped", "forwarded", "audit"],
  namespace: "shop",
  pod: "shop/db-0",
  "from-pod": "shop/web",
  "to-pod": "shop/db-0",
  label: "app=db, or tier in (a,b)",
  workload: "StatefulSet/db",
  service: "shop/db",
  port: "5432",
  protocol: "tcp",
  reason: "policy",
  policy: "shop/db-ingress",
  direction: ["ingress", "egress"],
  since: "30s, 5m, 2h",
};

let field = "verdict";

// What had the focus goes.
function away() {
  document.querySelector(".filters [name=field]").focus();
}

function submit(event) {
  event.preventDefault();
  const form = new FormData(event.target);
  const value = form.get("value").trim();
  if (!value) return;
  const added = form.get("not") ? ["not", `${field}=${value}`] : [field, value];
  // There is one beginning; of everything else several are alternatives.
  const others = state.filters.filter(([name]) => name !== "since" || added[0] !== "since");
  go(addressOf(state.view, [...others, added]));
  event.target.reset();
}

function suggestions() {
  const all = { pod: state.names.pods, "from-pod": state.names.pods, "to-pod": state.names.pods,
    service: state.names.services, policy: state.names.policies }[field] ?? [];
  return all.map(({ namespace, name }) => html`<option value=${`${namespace}/${name}`}></option>`);
}

export function filters() {
  const words = FIELDS[field];
  const choose = (event) => {
    field = event.target.value;
    change({});
  };
  const without = (index) => addressOf(state.view, state.filters.filter((_, other) => other !== index));
  return html`
    <form class="filters" aria-label="Filters" onSubmit=${submit}>
      <label>Field
        <select name="field" value=${field} onChange=${choose}>
          ${Object.keys(FIELDS).map((name) => html`<option>${name}</option>`)}
        </select>
      </label>
      <label>Value
        ${Array.isArray(words)
          ? html`<select name="value" key=${field}>${words.map((word) => html`<option>${word}</option>`)}</select>`
          : html`<input name="value" key=${field} placeholder=${words} list="suggestions" autocomplete="off" />`}
      </label>
      <datalist id="suggestions">${suggestions()}</datalist>
      <label class="check"><input type="checkbox" name="not" disabled=${field === "since"} /> not</label>
      <button type="submit">Add filter</button>
    </form>
    ${state.filters.length > 0 && html`
      <ul class="chips" aria-label="Filters in force">
        ${state.filters.map(([name, value], index) => html`
          <li>${name} ${value} <a class="remove" href=${without(index)} onClick=${away} aria-label=${`Remove ${name} ${value}`}>×</a></li>`)}
      </ul>`}`;
}
