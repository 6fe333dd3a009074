// Elements: how the page makes and changes what stands in it. Text is text: nothing here reads HTML.

const $ = id => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") made.textContent = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// Each writes only what is another than before: the rest of the page is not laid out anew.
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function setAttribute(node, name, value) {
  if (value === null) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
  } else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

function setClass(node, name) {
  if (node.className !== name) node.className = name;
}

function setHidden(node, hidden) {
  if (node.hidden !== hidden) node.hidden = hidden;
}

// Makes the children of a node these, in this order; those that stay where they are are not touched.
function setChildren(node, wanted) {
  const keep = new Set(wanted);
  for (const child of [...node.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((child, index) => {
    if (node.children[index] !== child) node.insertBefore(child, node.children[index] || null);
  });
}

// A plain table of texts: heads, then rows of {cells, mark}. A cell that begins a row is its head.
function fillTable(table, caption, heads, rows) {
  if (!table.tHead) {
    const cells = heads.map((head, i) => make("th", {scope: "col", class: i ? "number" : null, text: head}));
    table.append(make("caption", {class: "hidden", text: caption}));
    table.append(make("thead", {}, make("tr", {}, ...cells)), make("tbody"));
  }
  const body = table.tBodies[0];
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach(({cells, mark}, index) => {
    let row = body.rows[index];
    if (!row) {
      row = make("tr", {}, ...cells.map((_, i) => (i ? make("td", {class: "number"}) : make("th", {scope: "row"}))));
      body.append(row);
    }
    setClass(row, mark || "");
    cells.forEach((text, i) => setText(row.cells[i], text));
  });
}
