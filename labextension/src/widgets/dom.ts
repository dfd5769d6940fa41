/** Elements in one line, and what every part of the page needs of the document. */

const SVG = "http://www.w3.org/2000/svg";

export type Child = Node | string | null | false | undefined;
type Value = string | number | boolean | null | undefined | ((event: Event) => void);
type Attributes = Record<string, Value>;

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) if (child) element.append(child);
}

/** An HTML element; an attribute that is a function listens to the event of its name. */
export function h<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  fill(element, attributes, children);
  return element;
}

/** An SVG element. */
export function s<K extends keyof SVGElementTagNameMap>(
  name: K,
  attributes: Attributes = {},
  ...children: Child[]
): SVGElementTagNameMap[K] {
  const element = document.createElementNS(SVG, name);
  fill(element, attributes, children);
  return element;
}

/** Text drawn into a picture. */
export function label(x: number, y: number, text: string, attributes: Attributes = {}): SVGTextElement {
  return s("text", { x: round(x), y: round(y), ...attributes }, text);
}

export function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/**
 * Put new content in place of the old and leave the focus where a person had it: on the element with the same
 * `data-key`.
 */
export function replace(element: Element, ...children: Child[]): void {
  const root = element.getRootNode() as Document | ShadowRoot;
  const active = root.activeElement;
  const key = active && element.contains(active) ? active.getAttribute("data-key") : null;
  element.replaceChildren(...children.filter((child): child is Node | string => Boolean(child)));
  if (key !== null) {
    const again = element.querySelector<HTMLElement | SVGElement>(`[data-key="${CSS.escape(key)}"]`);
    again?.focus({ preventScroll: true });
  }
}

/** What fits into the narrowest cell of a table. */
const SHORT = 8;

let canvas: CanvasRenderingContext2D | null = null;

/** Width of a text in pixels, in the font of an element. */
export function width(text: string, beside: Element, weight = "400", size = 11): number {
  canvas ??= document.createElement("canvas").getContext("2d");
  if (!canvas) return text.length * size * 0.6;
  canvas.font = `${weight} ${size}px ${getComputedStyle(beside).fontFamily || "sans-serif"}`;
  return canvas.measureText(text).width;
}

/** A name cut in its middle, for the end tells siblings apart. */
export function cut(text: string, room: number, beside: Element, size = 11, weight = "400"): string {
  if (width(text, beside, weight, size) <= room) return text;
  for (let kept = text.length - 1; kept > 1; kept--) {
    const head = Math.ceil(kept / 2);
    const short = `${text.slice(0, head)}…${text.slice(text.length - (kept - head))}`;
    if (width(short, beside, weight, size) <= room) return short;
  }
  return "…";
}

/** Text for a place that may be too narrow for it: ends in an ellipsis there, and is whole in the tooltip. */
export function clipped(name: "code" | "span", text: string): HTMLElement {
  return h(name, { class: "mlm-cut", title: [...text].length > SHORT ? text : null }, text);
}

/** Places for labels that would stand at `wanted`: in the same order, none nearer than `gap` to the next. */
export function spread(wanted: number[], gap: number, lowest: number, highest: number): number[] {
  const order = wanted.map((_, index) => index).sort((a, b) => (wanted[a] ?? 0) - (wanted[b] ?? 0));
  const placed = [...wanted];
  let before = -Infinity;
  for (const index of order) {
    placed[index] = Math.max(wanted[index] ?? 0, before + gap, lowest);
    before = placed[index];
  }
  let after = Infinity;
  for (const index of order.reverse()) {
    placed[index] = Math.min(placed[index] ?? 0, after - gap, highest);
    after = placed[index];
  }
  return placed;
}

/** Words in which `code` stands between backticks. */
export function prose(text: string): (Node | string)[] {
  return text.split(/`([^`]*)`/).map((part, index) => (index % 2 ? h("code", {}, part) : part));
}
