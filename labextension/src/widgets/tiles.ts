/** Four figures, each with its line; coloured only while its rule is broken. */

import { h, s, type Child } from "./dom";
import { count } from "./format";
import { Plain } from "./plain";
import { mark } from "./sign";
import type { Tile, View } from "./view";

const WIDE = 120;
const TALL = 36;

export function tiles(element: HTMLElement, view: View): Plain<View> {
  return new Plain(element, view, "tiles", (one) => one.tiles, (one) => one.tiles.map(tile));
}

/** As many digits as the figure needs, always the same number for the same tile. */
function value(one: Tile): string {
  if (one.value === null) return "–";
  if (one.id === "requests") return one.value < 9.95 ? one.value.toFixed(1) : count(one.value);
  if (one.id === "latency") return one.value < 99.95 ? one.value.toFixed(1) : count(one.value);
  return one.value < 99.995 ? one.value.toFixed(2) : count(one.value);
}

function tile(one: Tile): Child {
  const words = `${one.title}: ${value(one)} ${one.unit}${one.broken ? ", rule broken" : ""}`;
  return h(
    "div",
    { class: one.broken ? "mlm-tile mlm-broken" : "mlm-tile", "data-id": one.id, role: "group", "aria-label": words },
    h("div", { class: "mlm-tile-top" }, h("span", {}, one.title), h("span", { class: "mlm-right" }, one.broken && mark("warning", "rule broken"), one.rule && `rule: ${one.rule}`)),
    h("div", { class: "mlm-tile-figure" }, h("strong", {}, value(one)), one.value !== null && one.unit ? ` ${one.unit}` : null),
    h("div", { class: "mlm-tile-note", title: one.note }, one.note),
    spark(one),
  );
}

function spark(one: Tile): Child {
  const known = one.spark.filter((each): each is number => each !== null);
  if (known.length < 2) return null;
  // From zero, so that a quiet line looks quiet; the limit is drawn when the figures come near it.
  const high = Math.max(...known);
  const limit = one.limit !== null && high > one.limit / 4 ? one.limit : null;
  const most = Math.max(high, limit ?? 0) * (one.id === "requests" || one.id === "latency" ? 1.6 : 1) || 1;
  const x = (index: number): number => 1 + (index / (one.spark.length - 1)) * (WIDE - 4);
  const y = (each: number): number => TALL - 3 - (each / most) * (TALL - 6);
  let path = "";
  let pen = "M";
  one.spark.forEach((each, index) => {
    if (each === null) pen = "M";
    else {
      path += `${pen}${x(index).toFixed(1)} ${y(each).toFixed(1)}`;
      pen = "L";
    }
  });
  const last = one.spark.length - 1 - [...one.spark].reverse().findIndex((each) => each !== null);
  return s(
    "svg",
    { class: "mlm-spark", width: WIDE, height: TALL, viewBox: `0 0 ${WIDE} ${TALL}`, "aria-hidden": "true" },
    limit !== null && s("line", { class: "mlm-spark-limit", x1: 1, x2: WIDE - 3, y1: y(limit), y2: y(limit) }),
    s("path", { d: path }),
    s("circle", { cx: x(last).toFixed(1), cy: y(one.spark[last] ?? 0).toFixed(1), r: 2 }),
  );
}
