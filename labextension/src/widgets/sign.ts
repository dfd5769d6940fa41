/** States as shapes first, then colours, each with its word. */

import { h, s } from "./dom";

export type Sign = "queued" | "running" | "succeeded" | "failed" | "cancelled" | "warning" | "up";

function shapes(sign: Sign): SVGElement[] {
  switch (sign) {
    case "queued":
      return [s("circle", { cx: 8, cy: 8, r: 4.5, class: "mlm-stroke" })];
    case "running":
      return [
        s("circle", { cx: 8, cy: 8, r: 5.5, class: "mlm-stroke mlm-ring" }),
        s("circle", { cx: 8, cy: 8, r: 2, class: "mlm-fill" }),
        s("path", { d: "M8 2.5A5.5 5.5 0 0 1 13.5 8", class: "mlm-stroke mlm-turns" }),
      ];
    case "succeeded":
      return [s("path", { d: "M3 8.5L6.5 12L13 4.5", class: "mlm-stroke" })];
    case "failed":
      return [s("path", { d: "M4 4L12 12M12 4L4 12", class: "mlm-stroke" })];
    case "cancelled":
      return [s("path", { d: "M3.5 8H12.5", class: "mlm-stroke" })];
    case "warning":
      return [
        s("path", { d: "M8 2L15 14H1Z", class: "mlm-fill" }),
        s("path", { d: "M8 6.5V10M8 11.2V12.6", class: "mlm-bang" }),
      ];
    case "up":
      return [s("circle", { cx: 8, cy: 8, r: 4, class: "mlm-fill" })];
  }
}

export function mark(sign: Sign, word: string): HTMLElement {
  const picture = s("svg", { width: 16, height: 16, viewBox: "0 0 16 16", "aria-hidden": "true" }, ...shapes(sign));
  return h("span", { class: `mlm-sign mlm-sign-${sign}`, role: "img", "aria-label": word, title: word }, picture);
}
