/** A part that is made of plain elements: built anew when what it shows differs. */

import { h, replace, type Child } from "./dom";
import { styled } from "./theme";
import type { Part } from "./shared";

export class Plain<D> implements Part<D> {
  private readonly root: HTMLElement;
  private shown = "";

  constructor(
    element: HTMLElement,
    protected data: D,
    name: string,
    private readonly uses: (data: D) => unknown,
    private readonly build: (data: D, root: HTMLElement) => Child[],
    private readonly stop: (() => void)[] = [],
  ) {
    styled(element);
    this.root = h("section", { class: `mlm mlm-${name}` });
    element.replaceChildren(this.root);
    this.draw();
  }

  update(data: D): void {
    this.data = data;
    this.draw();
  }

  /** Build anew, if what is shown differs or `always`. */
  draw(always = false): void {
    const shown = JSON.stringify(this.uses(this.data));
    if (shown === this.shown && !always) return;
    this.shown = shown;
    replace(this.root, ...this.build(this.data, this.root));
  }

  destroy(): void {
    this.stop.forEach((one) => one());
    this.root.remove();
  }
}

/** A part's heading: name left, what it is about right. */
export function heading(title: Child, right: Child = null, note: Child = null): HTMLElement {
  return h("header", { class: "mlm-heading" }, h("h3", {}, title, note && " ", note), right && h("span", { class: "mlm-right" }, right));
}
