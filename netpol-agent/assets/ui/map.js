// Who talks to whom: boxes and lines for those who see, and the same as a table for everybody.

import { addressOf, change, go, showPolicy, state } from "./state.js";
import { BOX, layout, route } from "./layout.js";
import { policyButtons } from "./flows.js";
import { count, html, nameOfNode, verdict } from "./view.js";

// The worst that has happened on an edge is what it looks like.
function outcome({ dropped, audit }) {
  return dropped ? "dropped" : audit ? "audit" : "forwarded";
}

function counts({ forwarded, audit, dropped }) {
  return [
    forwarded && count(forwarded, "connection"),
    audit && `${count(audit, "connection")} to be denied`,
    dropped && `${count(dropped, "packet")} dropped`,
  ].filter(Boolean).join(", ") || "earlier connections";
}

function ends({ from, to }) {
  return [from, to].map((node) => nameOfNode(state.graph.nodes[node]));
}

// Two of one name may be of different kinds.
function idOf({ from, to }) {
  return [from, to].map((node) => `${state.graph.nodes[node].kind} ${nameOfNode(state.graph.nodes[node])}`).join(" → ");
}

function choose(edge) {
  change({ edge: idOf(edge) });
  if (edge.policies.length > 0) showPolicy(edge.policies[0]);
  else change({ policy: null });
}

function onKey(event, edge) {
  if (event.key !== "Enter" && event.key !== " ") return;
  event.preventDefault();
  choose(edge);
}

function line(edge, { places, passages }) {
  const kind = outcome(edge);
  const { path, middle } = route(places[edge.from], places[edge.to], passages[state.graph.edges.indexOf(edge)]);
  const [from, to] = ends(edge);
  const chosen = state.edge === idOf(edge);
  return html`
    <g key=${idOf(edge)} class=${`edge ${kind}${chosen ? " chosen" : ""}`} tabindex="0" role="button"
        aria-label=${`${from} to ${to}: ${counts(edge)}`} aria-pressed=${String(chosen)}
        onClick=${() => choose(edge)} onKeyDown=${(event) => onKey(event, edge)}>
      <path class="wide" d=${path} />
      <path class="line" d=${path} marker-end=${`url(#${kind})`} />
      <circle cx=${middle.x} cy=${middle.y} r="9" />
      <text x=${middle.x} y=${middle.y + 4} text-anchor="middle">${{ dropped: "✕", audit: "!", forwarded: "✓" }[kind]}</text>
    </g>`;
}

function shorten(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

function box(node, { x, y }) {
  const name = nameOfNode(node);
  return html`
    <g key=${`${node.kind} ${name}`} class=${`node ${node.kind === "Service" ? "service" : ""}`}>
      <title>${node.kind} ${name}</title>
      <rect x=${x} y=${y} width=${BOX.width} height=${BOX.height} rx=${node.kind === "Service" ? 22 : 5} />
      <text x=${x + BOX.width / 2} y=${y + 19} text-anchor="middle">${shorten(name, 24)}</text>
      <text class="kind" x=${x + BOX.width / 2} y=${y + 35} text-anchor="middle">${node.kind}</text>
    </g>`;
}

function picture({ nodes, edges }) {
  const plan = layout(state.graph);
  const { places, width, height } = plan;
  // What was dropped is drawn last, above the rest.
  const worse = (edge) => ["forwarded", "audit", "dropped"].indexOf(outcome(edge));
  const sorted = [...edges].sort((a, b) => worse(a) - worse(b));
  return html`
    <div class="map">
      <svg viewBox=${`0 0 ${width} ${height}`} width=${width} height=${height} role="group" aria-label="Map of who talks to whom">
        <defs>${["forwarded", "audit", "dropped"].map((kind) => html`
          <marker id=${kind} class=${kind} viewBox="0 0 8 8" refX="0" refY="4" markerWidth="10" markerHeight="10" markerUnits="userSpaceOnUse" orient="auto">
            <path d="M0 0L8 4L0 8z" /></marker>`)}</defs>
        ${sorted.map((edge) => line(edge, plan))}
        ${nodes.map((node, index) => box(node, places[index]))}
      </svg>
    </div>`;
}

function row(edge) {
  const [from, to] = ends(edge);
  const chosen = state.edge === idOf(edge);
  return html`
    <tr key=${idOf(edge)} class=${`${outcome(edge)}${chosen ? " chosen" : ""}`}>
      <td data-title="From"><button type="button" aria-pressed=${String(chosen)} onClick=${() => choose(edge)}>${from}</button></td>
      <td data-title="To">${to}</td>
      <td data-title="Verdict">${verdict(outcome(edge))}</td>
      <td data-title="Seen">${counts(edge)}</td>
      <td data-title="Ports">${edge.ports.join(", ")}</td>
      <td data-title="Why">${edge.reasons.join(", ")} ${policyButtons(edge.policies)}</td>
    </tr>`;
}

export function mapView() {
  const { graph, by } = state;
  return html`
    <form class="choice" onChange=${(event) => go(addressOf("map", state.filters, event.target.value))}>
      <fieldset><legend>Receivers are</legend>
        ${["workload", "service"].map((name) => html`
          <label><input type="radio" name="by" value=${name} checked=${by === name} /> ${name}s</label>`)}
      </fieldset>
    </form>
    <ul class="legend" aria-label="Legend">
      ${["forwarded", "audit", "dropped"].map((name) => html`<li class=${name}>${verdict(name)}</li>`)}
    </ul>
    ${graph.edges.length === 0 ? html`<p class="note">Nobody has talked to anybody yet, as far as the filters say.</p>` : html`
      ${graph.left_off > 0 && html`<p class="note">${graph.left_off} more lines are left off. Filters show them.</p>`}
      ${picture(graph)}
      <table class="edges">
        <caption>The same as a table</caption>
        <thead><tr>${["From", "To", "Verdict", "Seen", "Ports", "Why"].map((title) => html`<th scope="col">${title}</th>`)}</tr></thead>
        <tbody>${graph.edges.map(row)}</tbody>
      </table>`}`;
}
