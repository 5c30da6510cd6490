// The table of flows, and what there is to say of the one that is chosen.

import { addressOf, change, keyOf, showPolicy, state } from "./state.js";
import { html, nameOfParty, verdict, wordsForParty } from "./view.js";

function why({ verdict: outcome, reason, policies, nearest, egress, ingress }) {
  const names = policies.map((policy) => `${policy.namespace}/${policy.name}`).join(", ");
  const near = nearest ? `; nearest ${nearest}` : "";
  if (outcome === "audit") return `to be isolated by ${names}${near}`;
  if (reason === "policy") return `isolated by ${names || "policies that are gone"}${near}`;
  if (reason) return reason;
  return [["egress", egress], ["ingress", ingress]].filter(([, basis]) => basis)
    .map(([end, basis]) => `${end}: ${basis}`).join(", ");
}

function choose(record) {
  change({ flow: record });
  if (record.policies.length > 0) showPolicy(record.policies[0]);
  else change({ policy: null });
}

// Up and down go from row to row, as in a list of files.
function onKey(event) {
  const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
  const row = event.target.closest("tr");
  if (!next || !row?.[next]) return;
  event.preventDefault();
  row[next].querySelector("button").focus();
}

export function policyButtons(policies) {
  return policies.map((policy) => html`
    <button type="button" class="policy" onClick=${() => showPolicy(policy)}>
      ${policy.namespace}/${policy.name}${policy.rule ? ` ${policy.rule}` : ""}
    </button>`);
}

function row(record) {
  const chosen = state.flow === record;
  const to = nameOfParty(record.destination) + (record.translated ? ` → ${nameOfParty(record.translated)}` : "");
  const from = record.source ? nameOfParty(record.source)
    : record.endpoint ? `${record.endpoint.namespace}/${record.endpoint.name}` : `interface ${record.interface}`;
  return html`
    <tr key=${keyOf(record)} class=${`${record.verdict}${chosen ? " chosen" : ""}`}>
      <td data-title="Time"><button type="button" aria-expanded=${String(chosen)} onClick=${() => choose(record)}>
        <time datetime=${record.time}>${record.time.slice(11, 23).replace("Z", "")}</time></button></td>
      <td data-title="Verdict">${verdict(record.verdict)}</td>
      <td data-title="From">${from}</td>
      <td data-title="To">${to}</td>
      <td data-title="Protocol">${record.protocol} <small>${record.kind}</small></td>
      <td data-title="Why">${why(record)}${record.suppressed ? ` (${record.suppressed} more)` : ""}</td>
    </tr>`;
}

function detail(record) {
  const { source, translated, destination, protocol, policies } = record;
  const to = translated ?? destination;
  const port = to?.port ? String(to.port) : "";
  const question = source && to && { from: wordsForParty(source), to: wordsForParty(to), port, protocol };
  return html`
    <section class="detail" aria-label="The chosen flow">
      <h2>${verdict(record.verdict)} ${record.direction}</h2>
      <p>${why(record)}</p>
      ${policies.length > 0 && html`<p>Policies: ${policyButtons(policies)}</p>`}
      ${question && html`<p><a href=${`#explain?${new URLSearchParams(question)}`}>Explain this connection</a></p>`}
      <details><summary>The whole record</summary><pre tabindex="0">${JSON.stringify(record, null, 2)}</pre></details>
    </section>`;
}

export function flowsView() {
  if (state.flows.length === 0) return html`<p class="note">No records${state.filters.length ? " that pass the filters" : ""} yet.</p>`;
  return html`
    ${state.flow && detail(state.flow)}
    <table class="flows">
      <caption>The newest records, ${state.flows.length} of them. <a href=${addressOf("map")}>Show as a map</a></caption>
      <thead><tr>${["Time", "Verdict", "From", "To", "Protocol", "Why"].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
      <tbody onKeyDown=${onKey}>${state.flows.map(row)}</tbody>
    </table>`;
}
