/** A chart on the axis of time that all of them share: geometry, crosshair, dragging, axis, tooltip. */

import { extent, timeTicks, yearly } from "./axis";
import { h, label, prose, replace, s } from "./dom";
import { drawMarks, place } from "./marks";
import type { Options } from "./options";
import type { Part, Shared } from "./shared";
import { onTheme, styled } from "./theme";
import type { View } from "./view";

export interface Frame {
  view: View;
  /** Width of the whole, and the plot's left and right edge. */
  wide: number;
  left: number;
  right: number;
  /** Height of the plot. */
  tall: number;
  narrow: boolean;
  domain: [number, number];
  x: (at: number) => number;
  /** An element whose font the picture has. */
  beside: Element;
}

/** What a chart draws; `overlay` is HTML above the picture, placed in the plot's own coordinates. */
export interface Drawn {
  height: number;
  behind?: SVGElement[];
  content: SVGElement[];
  overlay?: HTMLElement[];
}

export interface Kind {
  name: "traffic" | "drift" | "quality";
  title: string;
  /** Dimmed words beside the title. */
  note: (view: View) => string;
  /** What of the view it shows; it is drawn again only when that differs. */
  uses: (view: View) => unknown;
  isEmpty: (view: View) => boolean;
  draw: (frame: Frame) => Drawn;
  /** Once it stands in the document: what needs measured colours. */
  after?: (box: HTMLElement) => void;
  /** Lines of the tooltip at a time, the heading first; none, no tooltip. */
  tell?: (view: View, at: number, y: number) => string[];
}

const TITLE = 28;
const AXIS = 22;
const ID = { next: 0 };

export class Track implements Part<View> {
  private readonly root: HTMLElement;
  private readonly box = h("div", { class: "mlm-track-box" });
  private readonly tip = h("div", { class: "mlm-tip", hidden: true, "aria-hidden": "true" });
  private readonly cross = s("line", { class: "mlm-crosshair", y1: 0 });
  private readonly range = s("rect", { class: "mlm-range", y: 0 });
  private readonly resize: ResizeObserver;
  private readonly stop: (() => void)[];
  private readonly id = `mlm-${(ID.next += 1)}`;
  private frame: Frame | null = null;
  private shown = "";
  private top = 0;
  private dragged: number | null = null;

  constructor(
    element: HTMLElement,
    private view: View,
    private readonly kind: Kind,
    private readonly shared: Shared,
    private readonly options: Options,
  ) {
    styled(element);
    this.root = h("section", { class: `mlm mlm-track mlm-${kind.name}`, "aria-labelledby": this.id }, this.box, this.tip);
    element.replaceChildren(this.root);
    this.resize = new ResizeObserver(() => {
      if (this.frame?.wide !== this.root.clientWidth) this.draw();
    });
    this.resize.observe(this.root);
    this.stop = [
      shared.on((changed) => {
        if (changed.some((key) => key !== "crosshair")) this.draw();
        else this.move();
      }),
      onTheme(() => this.draw()),
    ];
    this.listen();
    this.draw();
  }

  update(view: View): void {
    this.view = view;
    if (this.fingerprint() !== this.shown) this.draw();
  }

  destroy(): void {
    this.resize.disconnect();
    this.stop.forEach((one) => one());
    this.root.remove();
  }

  private fingerprint(): string {
    const { start, end, marks, empty, window } = this.view;
    return JSON.stringify([this.kind.uses(this.view), start, end, marks, empty[this.kind.name], window, extent(this.view)]);
  }

  private draw(): void {
    this.shown = this.fingerprint();
    const wide = this.root.clientWidth;
    if (!wide) return;
    const domain = this.shared.state.domain ?? extent(this.view);
    const empty = !domain || this.kind.isEmpty(this.view);
    const title = h("h3", { class: "mlm-title", id: this.id }, h("span", {}, this.kind.title), " ");
    if (empty || !domain) {
      this.frame = null;
      this.top = 0;
      const words = this.view.empty[this.kind.name] ?? "Nothing to show yet.";
      replace(this.box, title, h("p", { class: "mlm-empty" }, ...prose(words)));
      return;
    }
    title.append(h("small", {}, this.kind.note(this.view)));
    const narrow = wide < 620;
    const left = narrow ? 76 : 88;
    const right = wide - (narrow ? 96 : 112);
    const x = (at: number): number => left + ((at - domain[0]) / (domain[1] - domain[0])) * (right - left);
    const frame: Frame = { view: this.view, wide, left, right, tall: 0, narrow, domain, x, beside: this.root };
    this.frame = frame;
    const words = this.options.markText !== false;
    const marks = this.view.marks.filter((mark) => reaches(mark.at, mark.until, domain));
    const layout = place(marks, x, [0, words ? wide : Infinity], this.root);
    this.top = (words ? layout.height : 0) + TITLE;
    const drawn = this.kind.draw(frame);
    const axis = this.options.axis !== false;
    const bottom = this.top + drawn.height;
    const whole = bottom + (axis ? AXIS : 0);
    title.style.top = `${this.top - TITLE}px`;
    const plot = `translate(0 ${this.top})`;
    const svg = s(
      "svg",
      { width: wide, height: whole, viewBox: `0 0 ${wide} ${whole}`, role: this.kind.name === "drift" ? null : "img", "aria-labelledby": this.id },
      s("g", { transform: plot }, ...(drawn.behind ?? [])),
      drawMarks(layout, words, bottom, [left, right]),
      s("g", { transform: plot }, ...drawn.content),
      axis && this.axis(frame, bottom),
      this.range,
      this.cross,
    );
    const overlay = h("div", { class: "mlm-overlay" }, ...(drawn.overlay ?? []));
    overlay.style.top = `${this.top}px`;
    this.range.setAttribute("height", String(bottom));
    this.cross.setAttribute("y2", String(bottom));
    const all = this.shared.state.domain && this.options.axis !== false && this.whole();
    replace(this.box, title, svg, overlay, all);
    this.kind.after?.(this.box);
    this.move();
  }

  /** Back from a stretch that was dragged out. */
  private whole(): HTMLElement {
    const button = h("button", { class: "mlm-whole", type: "button", "data-key": "whole", click: () => this.shared.set({ domain: null }) });
    button.textContent = "All of it";
    return button;
  }

  private axis(frame: Frame, y: number): SVGElement {
    const windows = this.view.drift.windows.map((window) => Date.parse(window.start));
    const group = s("g", { class: "mlm-axis" }, s("line", { x1: frame.left, x2: frame.right, y1: y, y2: y }));
    const found = timeTicks(frame.domain, frame.right - frame.left, 68, windows, yearly(this.view));
    found.forEach((tick) => {
      const at = frame.x(tick.at);
      group.append(s("line", { x1: at, x2: at, y1: y, y2: y + 4 }));
      group.append(label(at, y + 16, tick.text));
    });
    return group;
  }

  // -- pointer ----------------------------------------------------------------------------------------------------

  private time(event: PointerEvent): number | null {
    const frame = this.frame;
    if (!frame) return null;
    const place = event.clientX - this.box.getBoundingClientRect().left;
    if (place < frame.left || place > frame.right) return null;
    const share = (place - frame.left) / (frame.right - frame.left);
    return frame.domain[0] + share * (frame.domain[1] - frame.domain[0]);
  }

  private listen(): void {
    this.box.addEventListener("pointermove", (event) => {
      const at = this.time(event);
      this.shared.set({ crosshair: at });
      this.tooltip(at, event);
      this.stretch(at);
    });
    this.box.addEventListener("pointerleave", () => {
      this.shared.set({ crosshair: null });
      this.tip.hidden = true;
    });
    this.box.addEventListener("pointerdown", (event) => {
      if (event.button === 0) this.dragged = this.time(event);
    });
    const end = (event: PointerEvent): void => this.release(this.time(event));
    this.box.addEventListener("pointerup", end);
    this.box.addEventListener("pointercancel", () => this.release(null));
    this.box.addEventListener("dblclick", () => this.shared.set({ domain: null }));
    this.root.addEventListener("keydown", (event) => {
      if (event.key === "Escape") this.shared.set({ domain: null });
    });
  }

  private stretch(at: number | null): void {
    const frame = this.frame;
    if (!frame || this.dragged === null || at === null) return;
    const [from, to] = [frame.x(Math.min(at, this.dragged)), frame.x(Math.max(at, this.dragged))];
    this.range.setAttribute("x", String(from));
    this.range.setAttribute("width", String(to - from > 4 ? to - from : 0));
  }

  private release(at: number | null): void {
    const [frame, from] = [this.frame, this.dragged];
    this.dragged = null;
    this.range.setAttribute("width", "0");
    if (!frame || from === null || at === null || Math.abs(frame.x(at) - frame.x(from)) < 12) return;
    this.shared.set({ domain: [Math.min(from, at), Math.max(from, at)] });
  }

  private move(): void {
    const at = this.shared.state.crosshair;
    const frame = this.frame;
    const seen = frame !== null && at !== null && at >= frame.domain[0] && at <= frame.domain[1];
    this.cross.style.visibility = seen ? "visible" : "hidden";
    if (!seen || !frame || at === null) return;
    const place = String(Math.round(frame.x(at)) + 0.5);
    this.cross.setAttribute("x1", place);
    this.cross.setAttribute("x2", place);
  }

  private tooltip(at: number | null, event: PointerEvent): void {
    const frame = this.frame;
    const box = this.box.getBoundingClientRect();
    const y = event.clientY - box.top - this.top;
    const lines = at === null || !frame || y < 0 ? [] : (this.kind.tell?.(this.view, at, y) ?? []);
    this.tip.hidden = lines.length === 0;
    if (!lines.length || !frame) return;
    this.tip.replaceChildren(...lines.map((line, index) => h(index ? "div" : "strong", {}, line)));
    const x = event.clientX - box.left;
    // Beside the pointer, on the side where there is room: never under it.
    this.tip.style.left = x > (frame.left + frame.right) / 2 ? "" : `${x + 14}px`;
    this.tip.style.right = x > (frame.left + frame.right) / 2 ? `${frame.wide - x + 14}px` : "";
    this.tip.style.top = `${event.clientY - box.top + 12}px`;
  }
}

function reaches(at: string, until: string | null, [start, end]: [number, number]): boolean {
  return Date.parse(at) <= end && (until === null ? Date.parse(at) >= start : Date.parse(until) >= start);
}
