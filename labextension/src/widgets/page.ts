/**
 * The monitoring page, for the server's template and for the notebook alike.
 *
 *   import { page } from "…/monitor.js"
 *   const shown = page(element, view, options?)
 *   shown.update(view)         // a newer view; scroll, focus, filter and chosen cell stay
 *   shown.connection("lost")   // half strength, actions off, one quiet line; "live" heals it
 *   shown.destroy()
 *
 * `view` is `View` of mlinfra_lab/schema/monitoring.py as `msgspec.json.encode` writes it, parsed (see view.ts).
 * `options` are callbacks (see options.ts): onRange, onAct, onAcknowledge, onSelect, onTrace, traceLink, jobLink.
 * No request is made from here, and all style comes along (`adoptedStyleSheets`): a template needs only a
 * `<div id="page"></div>` and the variables of JupyterLab's theme, or none: light and dark have fallbacks.
 */

import { h } from "./dom";
import { draw, type Kind } from "./draw";
import { clock } from "./format";
import { Header } from "./header";
import { histogram } from "./histogram";
import type { Options } from "./options";
import { Shared, type Part } from "./shared";
import { styled } from "./theme";
import { ticking } from "./ticking";
import type { View } from "./view";

export interface Page extends Part<View> {
  update(view: View): void;
  connection(state: "live" | "lost"): void;
  destroy(): void;
}

export function page(element: HTMLElement, view: View, options: Options = {}, shared = new Shared()): Page {
  styled(element);
  const slot = (name: string): HTMLElement => h("div", { class: `mlm-slot-${name}` });
  const slots = {
    header: slot("header"), tiles: slot("tiles"), traffic: slot("traffic"), drift: slot("drift"), quality: slot("quality"),
    alerts: slot("alerts"), histogram: slot("histogram"), explains: slot("explains"), prediction: slot("prediction"),
    slices: slot("slices"), predictions: slot("predictions"),
  };
  const lost = h("p", { class: "mlm-lost-line", role: "status", hidden: true });
  const root = h(
    "div",
    { class: "mlm mlm-page" },
    h(
      "div",
      { class: "mlm-page-inner" },
      lost,
      slots.header,
      slots.tiles,
      h(
        "div",
        { class: "mlm-columns" },
        h("div", { class: "mlm-main" }, slots.traffic, slots.drift, slots.quality),
        h("aside", { class: "mlm-side", "aria-label": "Alerts and explanations" }, slots.alerts, slots.histogram, slots.explains, slots.prediction, slots.slices),
      ),
      slots.predictions,
    ),
  );
  element.replaceChildren(root);
  const below = { ...options, axis: false, markText: false };
  const own: Partial<Record<Kind, Options>> = {
    traffic: { ...options, axis: false, markText: true },
    drift: below,
    quality: { ...below, axis: true },
  };
  const header = new Header(slots.header, view, options);
  const kinds = ["tiles", "traffic", "drift", "quality", "alerts", "histogram", "explains", "slices", "predictions"] as const;
  const parts: Part<View>[] = [
    header,
    ...kinds.map((kind) => draw(slots[kind], kind, view, own[kind] ?? options, shared)),
    histogram(slots.prediction, view, shared, options, "prediction"),
  ];
  const stop = ticking(root, options);
  return {
    update: (next) => parts.forEach((part) => part.update(next)),
    connection: (state) => {
      const gone = state === "lost";
      if (gone === !lost.hidden) return;
      root.classList.toggle("mlm-lost", gone);
      lost.hidden = !gone;
      lost.textContent = gone ? `Connection lost at ${clock(Date.now())}. What is shown is from before; it goes on by itself.` : "";
      header.connection(state);
    },
    destroy: () => {
      stop();
      parts.forEach((part) => part.destroy());
      root.remove();
    },
  };
}
