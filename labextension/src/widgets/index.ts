/**
 * What the bundle gives: an anywidget (`default.render`), `draw` for one part, `page` for all of them.
 *
 * A widget's model has `kind`, and either `data` of its own or a `source`: the model of a Monitor, which holds the
 * view once for all widgets of a page, the range, and what a person chose.
 */

import { AnyChart, type ChartData } from "./chart";
import { draw as drawPart, KINDS, type Kind } from "./draw";
import type { Options } from "./options";
import { page } from "./page";
import { Shared, type Part, type State } from "./shared";
import { ticking } from "./ticking";
import type { Range, View } from "./view";

export { page, KINDS, Shared };
export type { Options } from "./options";
export type { Page } from "./page";

/** Draw one part, or a chart of anything, into an element. */
export function draw(element: HTMLElement, kind: Kind | "chart" | "page", data: View | ChartData, options: Options = {}, shared = new Shared()): Part<never> {
  if (kind === "chart") return new AnyChart(element, data as ChartData) as Part<never>;
  if (kind === "page") return page(element, data as View, options, shared) as Part<never>;
  return drawPart(element, kind, data as View, options, shared) as Part<never>;
}

interface Model {
  get(name: "kind"): Kind | "chart" | "page";
  get(name: "source"): string;
  get(name: "range"): Range;
  get(name: "actions"): boolean;
  get(name: "options"): Options;
  get(name: "state"): Partial<State>;
  get(name: "data" | "view"): View | ChartData | null;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: object): void;
  on(name: string, told: (content: { reply?: string; error?: string | null }) => void): void;
  off(name: string, told?: unknown): void;
  widget_manager: { get_model(id: string): Promise<Model> };
}

const sources = new WeakMap<Model, { shared: Shared; options: Options }>();
let asked = 0;

/** What all widgets of one Monitor have in common, kept equal to the kernel's side. */
function joined(source: Model): { shared: Shared; options: Options } {
  const known = sources.get(source);
  if (known) return known;
  const shared = new Shared();
  const kept = (): void => shared.set({ selection: null, ...source.get("state") });
  kept();
  source.on("change:state", kept);
  shared.on((changed) => {
    if (!changed.includes("selection")) return;
    source.set("state", { selection: shared.state.selection });
    source.save_changes();
  });
  const ask = (deed: string) => (alert: number): Promise<void> =>
    new Promise((done, failed) => {
      const id = `${Date.now()}-${(asked += 1)}`;
      const answer = (content: { reply?: string; error?: string | null }): void => {
        if (content.reply !== id) return;
        source.off("msg:custom", answer);
        if (content.error) failed(new Error(content.error));
        else done();
      };
      source.on("msg:custom", answer);
      source.send({ deed, alert, id });
    });
  const options: Options = {
    onRange: (range) => {
      source.set("range", range);
      source.save_changes();
    },
    ...(source.get("actions") ? { onAct: ask("act"), onAcknowledge: ask("acknowledge") } : {}),
  };
  const made = { shared, options };
  sources.set(source, made);
  return made;
}

async function render({ model, el }: { model: Model; el: HTMLElement }): Promise<() => void> {
  const named = model.get("source");
  const source = named ? await model.widget_manager.get_model(named.replace("IPY_MODEL_", "")) : null;
  const { shared, options } = source ? joined(source) : { shared: new Shared(), options: {} };
  const read = (): View | ChartData | null => (source ? source.get("view") : model.get("data"));
  const change = source ? "change:view" : "change:data";
  const held: { part: Part<never> | null } = { part: null };
  const update = (): void => {
    const data = read();
    if (!data) return;
    if (held.part) held.part.update(data as never);
    else held.part = draw(el, model.get("kind"), data, { ...options, ...model.get("options") }, shared);
  };
  update();
  (source ?? model).on(change, update);
  const stop = ticking(el, options);
  return () => {
    stop();
    (source ?? model).off(change, update);
    held.part?.destroy();
  };
}

export default { render };
