/** Lines over the last minutes, as SVG. */
import { h, svg } from "./dom.ts";

const WIDTH = 240;
const HEIGHT = 60;

export interface Line {
  /** What it is, for the legend. */
  name: string;
  /** Oldest first; null = unknown. */
  values: (number | null)[];
}

/**
 * A chart of one or two lines.
 * @param points how many values fit
 * @param format a value as text
 */
export function chart(title: string, lines: Line[], points: number, format: (value: number) => string): HTMLElement {
  const all = lines.flatMap(({ values }) => values).filter((value) => value !== null);
  const top = Math.max(...all, 0);
  const now = (values: Line["values"]) => {
    const last = values.at(-1) ?? null;
    return last === null ? "none yet" : format(last);
  };
  const paths = lines.flatMap(({ values }, i) => drawLine(values, points, top, i));
  const label = `${title}: ${lines.map(({ name, values }) => `${name} ${now(values)}`).join(", ")}; at most ${format(top)}`;
  const legend = lines.map(({ name, values }, i) =>
    h("span", { class: `key-${i}` }, h("b", {}, now(values)), ` ${name}`),
  );
  return h(
    "figure",
    { class: "chart" },
    h("figcaption", {}, h("h3", {}, title), h("p", {}, ...legend)),
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      ...paths,
    ),
    h(
      "p",
      { class: "scale" },
      h("span", {}, `${points} s ago`),
      h("span", {}, top > 0 ? `at most ${format(top)}` : ""),
    ),
  );
}

/** The runs of known values, each as a line; the first line of a chart also has its area. */
function drawLine(values: Line["values"], points: number, top: number, i: number): SVGElement[] {
  const x = (at: number) => ((at + points - values.length) / (points - 1)) * WIDTH;
  const y = (value: number) => HEIGHT - 1 - (top > 0 ? value / top : 0) * (HEIGHT - 4);
  const runs: number[][] = [];
  for (const [at, value] of values.entries()) {
    if (value === null) continue;
    if (at > 0 && values[at - 1] !== null && runs.length > 0) runs.at(-1)!.push(at);
    else runs.push([at]);
  }
  return runs.flatMap((run) => {
    const path = run.map((at, n) => `${n === 0 ? "M" : "L"}${x(at).toFixed(1)} ${y(values[at]!).toFixed(1)}`).join("");
    const area = `${path}L${x(run.at(-1)!).toFixed(1)} ${HEIGHT}L${x(run[0]!).toFixed(1)} ${HEIGHT}Z`;
    const line = svg("path", { class: `line-${i}`, d: path });
    return i === 0 ? [svg("path", { class: "area", d: area }), line] : [line];
  });
}

/** A bar that is filled to `used` of `room`. */
export function bar(name: string, used: number, room: number): HTMLElement {
  const share = room > 0 ? used / room : 0;
  const count = (value: number) => Math.round(value).toLocaleString("en-US");
  const text = `${count(used)} of ${count(room)}`;
  const box = {
    viewBox: "0 0 100 1",
    preserveAspectRatio: "none",
    role: "img",
    "aria-label": `${name}: ${text} pages`,
  };
  const fill = svg("rect", { width: Math.min(100, share * 100), height: 1 });
  return h("div", { class: "bar-row" }, h("span", {}, name), svg("svg", box, fill), h("span", {}, text));
}
