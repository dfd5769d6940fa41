/** The one style sheet, and what depends on the theme's measured colours. */

import plot from "uplot/dist/uPlot.min.css";
import css from "./monitor.css";

const sheets = new WeakMap<Document | ShadowRoot, CSSStyleSheet>();

/** Give the document (or shadow root) that an element stands in our style, once. */
export function styled(element: Element): void {
  const node = element.getRootNode();
  const root = node instanceof ShadowRoot ? node : document;
  if (sheets.has(root)) return;
  // A sheet made by script is no inline style: a strict content security policy lets it pass.
  const sheet = new CSSStyleSheet();
  sheet.replaceSync(`${plot}\n${css}`);
  root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
  sheets.set(root, sheet);
}

type Colour = [number, number, number, number];

/** A computed colour as red, green, blue and alpha between 0 and 1. */
export function parse(computed: string): Colour | null {
  const found = /^(rgba?|color)\(\s*(?:srgb\s+)?([^)]*)\)$/.exec(computed);
  if (!found) return null;
  const parts = (found[2] ?? "").split(/[\s,/]+/).map((text) => (text.endsWith("%") ? parseFloat(text) / 100 : parseFloat(text)));
  const scale = found[1] === "color" ? 1 : 255;
  const [red, green, blue, alpha] = parts;
  if (red === undefined || green === undefined || blue === undefined) return null;
  return [red / scale, green / scale, blue / scale, alpha ?? 1];
}

/** Relative luminance, WCAG 2.2. */
export function luminance([red, green, blue]: Colour): number {
  const linear = (part: number): number => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue);
}

/** Whether black or white is read better on a colour. */
export function ink(computed: string): "#000" | "#fff" {
  const colour = parse(computed);
  if (!colour) return "#000";
  const light = luminance(colour);
  return (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) ? "#000" : "#fff";
}

const watching = new Set<() => void>();
let observer: MutationObserver | null = null;

/** Be told when the theme changes; returns how to stop. */
export function onTheme(told: () => void): () => void {
  if (!observer) {
    const tell = (): void => watching.forEach((one) => one());
    observer = new MutationObserver(tell);
    const attributes = ["data-jp-theme-name", "data-jp-theme-light", "data-theme", "class"];
    observer.observe(document.body, { attributes: true, attributeFilter: attributes });
    observer.observe(document.documentElement, { attributes: true, attributeFilter: attributes });
    // A theme's sheet arrives after its attribute.
    document.head.addEventListener("load", tell, true);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
    addEventListener("beforeprint", tell);
    addEventListener("afterprint", tell);
  }
  watching.add(told);
  return () => watching.delete(told);
}
