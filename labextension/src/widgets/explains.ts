/** Which features explain the prediction's move in the chosen window. */

import { yearly } from "./axis";
import { h, type Child } from "./dom";
import { share, span } from "./format";
import type { Options } from "./options";
import { heading, Plain } from "./plain";
import { chosen } from "./select";
import type { Shared } from "./shared";
import type { View } from "./view";

const MOST = 5;
const LEAST = 0.03;
/** The share that fills the whole room for bars, unless one is larger. */
const ROOM = 0.6;

interface Explained {
  name: string;
  part: number;
}

/** The largest shares of the chosen window, and when that was. */
function explained(view: View, shared: Shared, options: Options): { rows: Explained[]; when: string } {
  const selection = chosen(view, shared.state.selection, options.selection);
  const index = view.drift.windows.findIndex((one) => Date.parse(one.start) === selection?.window);
  const window = view.drift.windows[index];
  if (!window) return { rows: [], when: "" };
  const rows = view.drift.features
    .map((row) => ({ name: row.name, part: row.shares[index] ?? 0 }))
    .filter((one) => one.part >= LEAST)
    .sort((a, b) => b.part - a.part)
    .slice(0, MOST);
  return { rows, when: span(Date.parse(window.start), Date.parse(window.end), yearly(view)) };
}

export function explains(element: HTMLElement, view: View, shared: Shared, options: Options): Plain<View> {
  const part: Plain<View> = new Plain(
    element, view, "explains", (one) => explained(one, shared, options), (one) => build(explained(one, shared, options)),
    [shared.on((changed) => changed.includes("selection") && part.draw())],
  );
  return part;
}

function build({ rows, when }: { rows: Explained[]; when: string }): Child[] {
  if (!when) return [];
  const head = heading("What explains the prediction’s move", when);
  if (!rows.length) return [head, h("p", { class: "mlm-quiet" }, "No feature moved it by itself.")];
  const most = Math.max(ROOM, ...rows.map((one) => one.part));
  const list = h("ul", {}, ...rows.map(({ name, part }) => {
    const bar = h("i", {});
    bar.style.width = `${(100 * part) / most}%`;
    return h("li", {}, h("code", { title: name }, name), h("span", { class: "mlm-bar" }, bar), h("span", { class: "mlm-value" }, share(part)));
  }));
  return [head, list];
}
