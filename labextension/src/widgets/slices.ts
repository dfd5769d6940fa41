/** Quality apart for each value of a column. */

import { clipped, h, type Child } from "./dom";
import { count, figure } from "./format";
import { heading, Plain } from "./plain";
import type { View } from "./view";

export function slices(element: HTMLElement, view: View): Plain<View> {
  return new Plain(element, view, "slices", (one) => [one.slices, one.answers, one.metric], build);
}

function build(view: View): Child[] {
  if (!view.slices.length) return [];
  const labels = [...new Set(view.slices.flatMap((one) => Object.keys(one.values)))].sort();
  const serving = [...view.answers].sort((a, b) => b.share - a.share)[0]?.label;
  const columns = [...new Set(view.slices.map((one) => one.column))];
  const tables = columns.map((column) => {
    const rows = view.slices.filter((one) => one.column === column);
    const cells = (values: { [label: string]: number | null }): HTMLElement[] =>
      labels.map((name) => {
        const value = values[name];
        return h("td", { class: name === serving ? "mlm-number mlm-serving" : "mlm-number mlm-other" }, value === null || value === undefined ? "–" : figure(value));
      });
    const table = h(
      "table",
      {},
      h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "mlm-slice" }, clipped("span", column)), h("th", { scope: "col", class: "mlm-number" }, "Truths"), ...labels.map((name) => h("th", { scope: "col", class: "mlm-number" }, clipped("span", name))))),
      h("tbody", {}, ...rows.map((one) => h("tr", {}, h("th", { scope: "row", class: "mlm-slice" }, clipped("code", one.value)), h("td", { class: "mlm-number" }, count(one.truths)), ...cells(one.values)))),
    );
    return h("div", { class: "mlm-scroll" }, table);
  });
  return [heading("Quality by slice", view.metric || view.quality.unit), ...tables];
}
