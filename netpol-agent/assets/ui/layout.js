// Places for the nodes of a map: columns from left to right, so that most edges go the way one reads. The same graph has the same
// places each time. An edge over more than one column has a place of its own in each that it passes, so that it crosses no box.

export const BOX = { width: 168, height: 44 };
const PASSAGE = 10;
const GAP = { x: 110, y: 22 };
const MARGIN = 16;

// The longest way from a node that nobody talks to, without edges that close a circle.
function columns(count, edges) {
  const out = Array.from({ length: count }, () => []);
  const into = new Array(count).fill(0);
  edges.filter(({ from, to }) => from !== to).forEach(({ from, to }) => {
    out[from].push(to);
    into[to] += 1;
  });
  const column = new Array(count).fill(0);
  const seen = new Array(count).fill(0); // 1: on the way there, 2: done
  const order = [];
  const visit = (node) => {
    seen[node] = 1;
    out[node] = out[node].filter((next) => seen[next] !== 1);
    out[node].forEach((next) => seen[next] === 0 && visit(next));
    seen[node] = 2;
    order.unshift(node);
  };
  const senders = [...Array(count).keys()].sort((a, b) => into[a] - into[b] || a - b);
  senders.forEach((node) => seen[node] === 0 && visit(node));
  order.forEach((node) => out[node].forEach((next) => { column[next] = Math.max(column[next], column[node] + 1); }));
  return column;
}

// What stands in each column: nodes, and passages of edges. Each knows what is left of it and joined to it.
function fill(count, edges) {
  const column = columns(count, edges);
  const items = column.map(() => ({ height: BOX.height, before: [] }));
  const inColumns = [];
  const put = (item, at) => (inColumns[at] ??= []).push(item);
  column.forEach((at, node) => put(items[node], at));
  const passages = edges.map(({ from, to }) => {
    const passed = [];
    let last = items[from];
    for (let at = column[from] + 1; at < column[to]; at += 1) {
      const passage = { height: PASSAGE, before: [last] };
      put(passage, at);
      passed.push(passage);
      last = passage;
    }
    if (column[to] > column[from]) items[to].before.push(last);
    return passed;
  });
  return { items, passages, inColumns };
}

// Each node's upper left corner, the points that each edge passes, and the size of the whole.
export function layout({ nodes, edges }) {
  const { items, passages, inColumns } = fill(nodes.length, edges);
  let height = 0;
  inColumns.forEach((column, at) => {
    const mean = ({ before }) => before.reduce((sum, item) => sum + item.y, 0) / (before.length || 1);
    if (at > 0) column.sort((a, b) => mean(a) - mean(b));
    let y = MARGIN;
    column.forEach((item) => {
      Object.assign(item, { x: MARGIN + at * (BOX.width + GAP.x), y });
      y += item.height + GAP.y;
    });
    height = Math.max(height, y - GAP.y + MARGIN);
  });
  // Short columns stand in the middle.
  inColumns.forEach((column) => {
    const last = column.at(-1);
    const free = height - MARGIN - last.y - last.height;
    column.forEach((item) => { item.y += free / 2; });
  });
  // Below the last box there is room for edges that go back.
  return { places: items, passages, width: 2 * MARGIN + inColumns.length * (BOX.width + GAP.x) - GAP.x, height: height + GAP.y };
}

// The path of an edge, and where its sign stands.
export function route(from, to, passed) {
  const end = { x: to.x, y: to.y + BOX.height / 2 };
  if (to.x > from.x) {
    let at = { x: from.x + BOX.width, y: from.y + BOX.height / 2 };
    const first = passed[0] ? { x: passed[0].x, y: passed[0].y + PASSAGE / 2 } : end;
    const middle = { x: (at.x + first.x) / 2, y: (at.y + first.y) / 2 };
    let path = `M${at.x} ${at.y}`;
    const bend = (x, y) => { path += `C${(at.x + x) / 2} ${at.y} ${(at.x + x) / 2} ${y} ${x} ${y}`; };
    passed.forEach((passage) => {
      const y = passage.y + PASSAGE / 2;
      bend(passage.x, y);
      at = { x: passage.x + BOX.width, y };
      path += `H${at.x}`;
    });
    bend(end.x - 9, end.y);
    return { path, middle };
  }
  // Back, or to itself: below the boxes.
  const low = Math.max(from.y, to.y) + BOX.height + GAP.y / 2;
  const [a, b] = [from.x + BOX.width / 2 + 12, to.x + BOX.width / 2 - 12];
  return {
    path: `M${a} ${from.y + BOX.height}C${a} ${low + 14} ${b} ${low + 14} ${b} ${to.y + BOX.height + 9}`,
    middle: { x: (a + b) / 2, y: low + 6 },
  };
}
