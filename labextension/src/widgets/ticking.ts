/** Times that pass: "3 s ago" stays true without a newer view. */

import { ago } from "./format";
import type { Options } from "./options";

/** Keep every `time[data-ago]` below an element true; returns how to stop. */
export function ticking(root: HTMLElement, options: Options): () => void {
  const tick = (): void => {
    if (document.hidden) return;
    const now = options.now?.() ?? Date.now();
    for (const time of root.querySelectorAll<HTMLTimeElement>("time[data-ago]")) {
      const words = ago(Date.parse(time.dateTime), now);
      if (time.textContent !== words) time.textContent = words;
    }
  };
  const timer = setInterval(tick, 1000);
  return () => clearInterval(timer);
}
