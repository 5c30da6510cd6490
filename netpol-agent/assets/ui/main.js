import { render } from "./vendor/preact.js";
import { addressOf, pause, start, state } from "./state.js";
import { explainView } from "./explain.js";
import { filters } from "./filters.js";
import { flowsView } from "./flows.js";
import { mapView } from "./map.js";
import { policyView } from "./policy.js";
import { html } from "./view.js";

const VIEWS = [["map", "Map"], ["flows", "Flows"], ["explain", "Explain"]];
const CONNECTION = {
  connecting: "connecting …",
  live: "live",
  lost: "no connection to the agent; trying again …",
  refused: "not following",
  paused: "paused",
};

// The part of the address behind # names the view, so this link cannot lead to a place in the page by it.
function skip(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

function page() {
  const { view, connection, missing, error, paused, policy, names: { node } } = state;
  const title = VIEWS.find(([name]) => name === view)[1];
  document.title = [title, node, "netpol"].filter(Boolean).join(" · ");
  return html`
    <a class="skip" href="#main" onClick=${skip}>Skip to the content</a>
    <header>
      <h1>netpol ${node && html`<small>${node}</small>`}</h1>
      <nav aria-label="Views">
        ${VIEWS.map(([name, title]) => html`
          <a href=${addressOf(name)} aria-current=${name === view ? "page" : null}>${title}</a>`)}
      </nav>
      <p class=${`connection ${connection}`} role="status">${CONNECTION[connection]}</p>
      <button type="button" aria-pressed=${String(paused)} onClick=${() => pause(!paused)}>Pause</button>
    </header>
    ${view !== "explain" && filters()}
    ${error && view !== "explain" && html`<p class="error" role="alert">${error}</p>`}
    ${missing > 0 && html`<p class="note" role="status">${missing} records are missing: they came too fast.</p>`}
    <div class="columns">
      <main id="main" tabindex="-1">
        ${view === "map" && mapView()}
        ${view === "flows" && flowsView()}
        ${view === "explain" && explainView()}
      </main>
      ${policy && policyView()}
    </div>
    <p class="unseen" role="status">${policy && `Policy ${policy.question.namespace}/${policy.question.name}: ${policy.words}`}</p>`;
}

const root = document.getElementById("page");
root.replaceChildren();
start(() => render(page(), root));
