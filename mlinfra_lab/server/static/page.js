// The page around the widgets: it asks the server, listens for changes, and lets a kernel's cells take over.
// @ts-check

const config = JSON.parse(document.getElementById("mlinfra-config").textContent);
let view = JSON.parse(document.getElementById("mlinfra-view").textContent);
const element = document.getElementById("mlinfra-drawn");
const api = "/mlinfra/api";
const scroll = `mlinfra-scroll-${config.endpoint}`;
const PYTHON_SECONDS = 60;
const BETWEEN_MILLISECONDS = 250;

const { page } = await import(config.bundle);

/** Ask the server; what it refuses is an Error with the words it said. */
async function ask(path, options) {
  const response = await fetch(api + path, options);
  if (response.ok) return response;
  let said = { message: `The server answered ${response.status}.`, hint: null };
  try {
    said = await response.json();
  } catch {
    // not ours
  }
  throw Object.assign(new Error([said.message, said.hint].filter(Boolean).join(" ")), { status: response.status });
}

function post(path) {
  // Read when it is needed: every Jupyter server on this machine writes the same cookie.
  const cookie = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie);
  const headers = { "Content-Type": "application/json", "X-XSRFToken": cookie ? cookie[1] : "" };
  return ask(path, { method: "POST", headers, body: "{}" });
}

function note(text) {
  document.getElementById("mlinfra-note").textContent = text;
}

// -- following ----------------------------------------------------------------------------------------------------

let range = view.range;
let known = view.number;
let wanted = view.number;
let asking = false;

/** Fetch the view, one request at a time, until it is as new as what was heard of. */
async function refresh() {
  if (asking) return;
  asking = true;
  try {
    while (wanted > known || range !== view.range) {
      const heard = wanted;
      const chosen = range;
      const response = await ask(`/monitors/${config.endpoint}?range=${chosen}`);
      const next = await response.json();
      known = Math.max(heard, next.number);
      if (chosen === range) {
        view = next;
        shown?.update(view);
      }
      note("");
      await new Promise((done) => setTimeout(done, BETWEEN_MILLISECONDS));
    }
  } catch (error) {
    // A connection that is lost has its own line; what the server said is shown until it says otherwise.
    if (error.status) note(error.message);
    if (error.status === 403) source.close();
    range = view.range;
  } finally {
    asking = false;
  }
}

function heard(revision) {
  wanted = Math.max(wanted, revision);
  if (shown && !document.hidden) refresh();
}

let source;
let kernel = "";

function listen() {
  source?.close();
  source = new EventSource(`${api}/monitors/${config.endpoint}/events${kernel ? `?kernel=${kernel}` : ""}`);
  source.addEventListener("hello", (event) => {
    shown?.connection("live");
    heard(Number(event.data));
  });
  source.addEventListener("change", (event) => heard(Number(event.lastEventId)));
  source.addEventListener("error", () => {
    shown?.connection("lost");
    // The browser tries again by itself, unless the answer was no stream: the server may be starting.
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, 2000);
  });
}

document.addEventListener("visibilitychange", () => shown && !document.hidden && refresh());

// -- what a person can do -----------------------------------------------------------------------------------------

const options = {
  onRange(chosen) {
    range = chosen;
    const address = new URL(location.href);
    address.searchParams.set("range", chosen);
    history.replaceState(null, "", address);
    refresh();
  },
  async onAct(alert) {
    await post(`/alerts/${alert}/act`);
  },
  async onAcknowledge(alert) {
    await post(`/alerts/${alert}/acknowledge`);
  },
  async onTrace(prediction) {
    const dialog = document.createElement("dialog");
    dialog.className = "mlinfra-trace";
    const title = document.createElement("h2");
    title.textContent = `Lineage of ${prediction}`;
    const tree = document.createElement("pre");
    tree.tabIndex = 0;
    tree.textContent = "…";
    const close = document.createElement("button");
    close.textContent = "Close";
    close.addEventListener("click", () => dialog.close());
    dialog.append(title, tree, close);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
    try {
      tree.textContent = await (await ask(`/lineage/${encodeURIComponent(prediction)}?as=text`)).text();
    } catch (error) {
      tree.textContent = error.message;
    }
  },
};

let shown = page(element, view, options);
listen();
performance.mark("mlinfra-drawn");
document.documentElement.dataset.drawn = "";

// -- Python -------------------------------------------------------------------------------------------------------

const saved = sessionStorage.getItem(scroll);
if (saved !== null) {
  sessionStorage.removeItem(scroll);
  scrollTo(0, Number(saved));
}

/** Ask for the page anew, with a kernel: what is drawn now stays on the screen until it is drawn again. */
function run() {
  const address = new URL(location.href);
  address.hash = "";
  address.searchParams.set("python", "1");
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  address.searchParams.set("theme", config.theme || (dark ? "dark" : "light"));
  sessionStorage.setItem(scroll, String(scrollY));
  location.replace(address);
}

function foot() {
  const line = document.createElement("p");
  line.id = "mlinfra-foot";
  const link = document.createElement("a");
  link.href = "#";
  link.textContent = "Run the notebook of this page";
  link.title = "Starts a kernel that runs notebooks/monitoring/endpoint.ipynb, which you can change.";
  link.addEventListener("click", (event) => {
    event.preventDefault();
    run();
  });
  line.append("Drawn from what is stored; no kernel runs. ", link);
  element.after(line);
}

/** The notebook's cells are there: they take the drawn page's place, at the same height of the window. */
function joined(id) {
  kernel = id;
  const cells = document.getElementById("rendered_cells");
  cells.classList.remove("mlinfra-waiting");
  shown.destroy();
  shown = null;
  element.remove();
  note("");
  listen();
  document.documentElement.dataset.joined = "";
}

function failed(text) {
  if (document.documentElement.dataset.joined !== undefined) return;
  note(`Python did not join (${text}); the page is drawn from what is stored.`);
  document.documentElement.dataset.failed = "";
}

if (config.joins) {
  const late = setTimeout(() => failed(`nothing came for ${PYTHON_SECONDS} s`), PYTHON_SECONDS * 1000);
  const settle = () => {
    const said = window.mlinfraJoin;
    if (!said) return;
    clearTimeout(late);
    if (said.kernel) joined(said.kernel);
    else failed(said.failed);
  };
  addEventListener("mlinfra-join", settle);
  settle();
} else if (config.wants) {
  run();
} else {
  foot();
}
