/** A chart of anything, by uPlot: lines or bars over numbers or times, labels beside the lines. */

import uPlot from "uplot";
import { h } from "./dom";
import { clock, count, day, figure, hour } from "./format";
import type { Part } from "./shared";
import { onTheme, styled } from "./theme";
import type { Tone } from "./view";

export interface Line {
  label: string;
  values: (number | null)[];
  tone?: Tone | null;
}

export interface ChartData {
  title?: string | null;
  note?: string | null;
  /** Numbers, or moments as ISO 8601. */
  x: (number | string)[];
  series: Line[];
  kind?: "line" | "bar";
  unit?: string | null;
  limit?: number | null;
  height?: number | null;
}

const TONES: Tone[] = ["now", "older", "alarm", "well", "failed", "plain"];

export class AnyChart implements Part<ChartData> {
  private readonly root: HTMLElement;
  private readonly head = h("h3", { class: "mlm-title-static" });
  private readonly read = h("p", { class: "mlm-reading", "aria-live": "off" });
  private readonly box = h("div", { class: "mlm-uplot", role: "img" });
  private readonly resize: ResizeObserver;
  private readonly stop: () => void;
  private plot: uPlot | null = null;
  private shown = "";

  constructor(element: HTMLElement, private data: ChartData) {
    styled(element);
    this.root = h("section", { class: "mlm mlm-anychart" }, this.head, this.box, this.read);
    element.replaceChildren(this.root);
    this.resize = new ResizeObserver(() => {
      const wide = this.box.clientWidth;
      if (this.plot && wide && this.plot.width !== wide) this.plot.setSize({ width: wide, height: this.height() });
      else if (!this.plot && wide) this.draw();
    });
    this.resize.observe(this.box);
    this.stop = onTheme(() => this.draw());
    this.draw();
  }

  update(data: ChartData): void {
    const before = this.shape();
    this.data = data;
    // The same lines with newer figures: nothing is built anew, so a zoom stays.
    if (this.plot && before === this.shape()) {
      if (JSON.stringify(data) !== this.shown) this.plot.setData(this.columns());
      this.shown = JSON.stringify(data);
    } else this.draw();
  }

  destroy(): void {
    this.stop();
    this.resize.disconnect();
    this.plot?.destroy();
    this.root.remove();
  }

  private shape(): string {
    const { title, note, series, kind, unit, limit, height } = this.data;
    return JSON.stringify([title, note, series.map((one) => [one.label, one.tone]), kind, unit, limit, height, this.timed()]);
  }

  private timed(): boolean {
    return typeof this.data.x[0] === "string";
  }

  private height(): number {
    return this.data.height ?? 180;
  }

  private columns(): uPlot.AlignedData {
    const x = this.data.x.map((each) => (typeof each === "string" ? Date.parse(each) / 1000 : each));
    return [x, ...this.data.series.map((one) => one.values)] as uPlot.AlignedData;
  }

  private draw(): void {
    this.shown = JSON.stringify(this.data);
    const { title, note, series, unit, kind, limit } = this.data;
    this.head.replaceChildren(title ?? "", title && note ? " " : "", h("small", {}, note ?? ""));
    this.head.hidden = !title && !note;
    this.box.setAttribute("aria-label", `${title ?? "Chart"}: ${series.map(summary).join("; ")}`);
    const wide = this.box.clientWidth;
    this.plot?.destroy();
    this.plot = null;
    if (!wide) return;
    const style = getComputedStyle(this.root);
    const colour = (name: string): string => this.measured(`var(--mlm-${name})`);
    const font = `11px ${style.fontFamily}`;
    const strokes = series.map((one, index) => colour(one.tone ?? TONES[index % TONES.length] ?? "now"));
    const across = this.timed() ? { values: (_plot: uPlot, moments: number[]) => moments.map((at) => moment(1000 * at, moments)) } : {};
    const axis: uPlot.Axis = { stroke: colour("dim"), font, grid: { show: false }, ticks: { stroke: colour("line"), width: 1, size: 4 } };
    const bars = kind === "bar" && uPlot.paths.bars ? { paths: uPlot.paths.bars({ size: [0.85, 40], align: 0 }) } : {};
    this.plot = new uPlot(
      {
        width: wide,
        height: this.height(),
        padding: [8, 96, 0, 0],
        legend: { show: false },
        scales: { x: { time: this.timed(), ...(kind === "bar" ? { range: (_plot: uPlot, low: number, high: number) => this.whole(low, high) } : {}) }, y: { range: (_plot, low, high) => limits(low, high, limit ?? null, kind === "bar") } },
        axes: [{ ...axis, size: 28, ...across }, { ...axis, grid: { show: true, stroke: colour("line"), width: 1 }, ticks: { show: false }, size: 48, values: (_plot, values) => values.map((value) => `${figure(value, decimals(values))}${unit ? ` ${unit}` : ""}`) }],
        cursor: { y: false, points: { size: 5 } },
        series: [{}, ...series.map((one, index) => {
          const stroke = strokes[index] ?? "currentColor";
          return { label: one.label, stroke, width: 1.5, points: { show: one.values.length < 60 && kind !== "bar", size: 4, fill: stroke }, ...(kind === "bar" ? { fill: stroke } : {}), ...bars };
        })],
        hooks: {
          draw: [(plot) => this.names(plot, strokes, font, colour("alarm"))],
          setCursor: [(plot) => this.say(plot)],
        },
      },
      this.columns(),
      this.box,
    );
  }

  /** Room for half a bar at both ends. */
  private whole(low: number, high: number): uPlot.Range.MinMax {
    const [first = 0, second = 1] = this.columns()[0];
    return [low - (second - first) / 2, high + (second - first) / 2];
  }

  /** A variable as the browser computes it: a canvas knows no variables. */
  private measured(value: string): string {
    const probe = h("i", {});
    probe.style.color = value;
    this.root.append(probe);
    const computed = getComputedStyle(probe).color;
    probe.remove();
    return computed;
  }

  /** Labels at the lines' ends, and the limit. */
  private names(plot: uPlot, strokes: string[], font: string, amber: string): void {
    const { ctx } = plot;
    const ratio = devicePixelRatio || 1;
    const right = plot.bbox.left + plot.bbox.width;
    ctx.save();
    ctx.textBaseline = "middle";
    ctx.textAlign = "left";
    ctx.font = `600 ${font.replace("11px", `${11 * ratio}px`)}`;
    let before = -Infinity;
    const ends = this.data.series.map((one, index) => {
      const last = [...one.values].reverse().find((value) => value !== null);
      return { text: one.label, fill: strokes[index] ?? "", y: last === undefined || last === null ? NaN : plot.valToPos(last, "y", true) };
    });
    for (const end of ends.filter((one) => Number.isFinite(one.y)).sort((a, b) => a.y - b.y)) {
      before = Math.max(end.y, before + 14 * ratio);
      ctx.fillStyle = end.fill;
      ctx.fillText(end.text, right + 8 * ratio, before);
    }
    if (this.data.limit !== null && this.data.limit !== undefined) {
      const y = plot.valToPos(this.data.limit, "y", true);
      ctx.strokeStyle = amber;
      ctx.setLineDash([1 * ratio, 3 * ratio]);
      ctx.lineWidth = ratio;
      ctx.beginPath();
      ctx.moveTo(plot.bbox.left, y);
      ctx.lineTo(right, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** What is under the crosshair, in a line of its own that is always there. */
  private say(plot: uPlot): void {
    const index = plot.cursor.idx;
    const at = index === null || index === undefined ? undefined : this.data.x[index];
    if (at === undefined || index === null || index === undefined) {
      this.read.textContent = "";
      return;
    }
    const where = typeof at === "string" ? `${day(Date.parse(at))}, ${clock(Date.parse(at))}` : number(at);
    const values = this.data.series.map((one) => `${one.label} ${value(one.values[index], this.data.unit)}`);
    this.read.textContent = [where, ...values].join("   ");
  }
}

function value(each: number | null | undefined, unit: string | null | undefined): string {
  return each === null || each === undefined ? "–" : `${figure(each)}${unit ? ` ${unit}` : ""}`;
}

function summary(one: Line): string {
  const known = one.values.filter((each): each is number => each !== null);
  if (!known.length) return `${one.label}, no figures`;
  return `${one.label} from ${figure(known[0] ?? 0)} to ${figure(known[known.length - 1] ?? 0)}`;
}

/** Days where ticks are days apart, else hours. */
function moment(at: number, all: number[]): string {
  const apart = (all[1] ?? 0) - (all[0] ?? 0);
  return apart >= 86_400 ? day(at) : hour(at);
}

function number(at: number): string {
  return Number.isInteger(at) ? count(at) : figure(at);
}

function decimals(values: number[]): number {
  const [first = 0, second = 1] = values;
  return Math.min(Math.max(-Math.floor(Math.log10(Math.abs(second - first) || 1)), 0), 4);
}

function limits(low: number, high: number, limit: number | null, zero: boolean): uPlot.Range.MinMax {
  const from = Math.min(low ?? 0, limit ?? Infinity, zero ? 0 : Infinity);
  const to = Math.max(high ?? 1, limit ?? -Infinity);
  const pad = (to - from || Math.abs(to) || 1) * 0.06;
  return [zero && from === 0 ? 0 : from - pad, to + pad];
}
