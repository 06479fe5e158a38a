/** What the server does, drawn from /metrics once a second while it is looked at. */
import { readMetrics } from "./api.ts";
import { bar, chart, type Line } from "./charts.ts";
import { h } from "./dom.ts";
import { mean, parseMetrics, quantile, type Reading, rate, samplesOf, sum } from "./metrics.ts";
import { nameOf, type Server } from "./servers.ts";

/** Seconds that are drawn, at one point a second, and over which quantiles are taken. */
const POINTS = 120;
const WINDOW = 20;

/** What is drawn of one reading. */
const SERIES = {
  generated: (before, now) => rate(before, now, "generation_tokens_total"),
  prompts: (before, now) => rate(before, now, "prompt_tokens_total"),
  running: (_, now) => sum(now, "num_requests_running"),
  waiting: (_, now) => sum(now, "num_requests_waiting"),
  firstMedian: (_, now, old) => quantile(old, now, "time_to_first_token_seconds", 0.5),
  firstLate: (_, now, old) => quantile(old, now, "time_to_first_token_seconds", 0.95),
  betweenMedian: (_, now, old) => quantile(old, now, "inter_token_latency_seconds", 0.5),
  betweenLate: (_, now, old) => quantile(old, now, "inter_token_latency_seconds", 0.95),
} satisfies Record<string, (before: Reading | null, now: Reading, old: Reading | null) => number | null>;

type Name = keyof typeof SERIES;

export class ServerView {
  readonly #element: HTMLElement;
  readonly #server: () => Server;
  #address: string | null = null;
  #readings: Reading[] = [];
  #timer = 0;

  /** @param server gives the server to watch */
  constructor(element: HTMLElement, server: () => Server) {
    this.#element = element;
    this.#server = server;
    document.addEventListener("visibilitychange", () => {
      this.isShown = !element.hidden;
    });
  }

  /** Only what is looked at asks the server. */
  set isShown(isShown: boolean) {
    clearInterval(this.#timer);
    if (!isShown || document.hidden) return;
    this.#timer = window.setInterval(() => void this.#read(), 1000);
    void this.#read();
  }

  readonly #series = Object.fromEntries(Object.keys(SERIES).map((name) => [name, []])) as unknown as Record<
    Name,
    (number | null)[]
  >;

  async #read(): Promise<void> {
    const server = this.#server();
    if (server.address !== this.#address) this.#restart(server.address);
    let text: string;
    try {
      text = await readMetrics(server);
    } catch (error) {
      if (server.address === this.#address)
        this.#element.replaceChildren(h("p", { class: "failure" }, (error as Error).message));
      return;
    }
    if (server.address !== this.#address) return;
    this.#add(parseMetrics(text, performance.now() / 1000));
    this.#draw(server);
  }

  #restart(address: string): void {
    this.#address = address;
    this.#readings = [];
    for (const values of Object.values(this.#series)) values.length = 0;
  }

  #add(now: Reading): void {
    const before = this.#readings.at(-1) ?? null;
    const old = this.#readings[0] ?? null;
    for (const [name, values] of Object.entries(this.#series)) {
      values.push(SERIES[name as Name](before, now, old));
      if (values.length > POINTS) values.shift();
    }
    this.#readings.push(now);
    if (this.#readings.length > WINDOW) this.#readings.shift();
  }

  #draw(server: Server): void {
    const now = this.#readings.at(-1)!;
    const line = (name: string, series: Name): Line => ({ name, values: this.#series[series] });
    const draw = (title: string, lines: Line[], format: (value: number) => string) =>
      chart(title, lines, POINTS, format);
    const charts = [
      draw("Throughput", [line("tokens/s generated", "generated"), line("tokens/s of prompts", "prompts")], count),
      draw("Requests", [line("running", "running"), line("waiting", "waiting")], count),
      draw("Time to first token", [line("median", "firstMedian"), line("95th percentile", "firstLate")], duration),
      draw("Time between tokens", [line("median", "betweenMedian"), line("95th percentile", "betweenLate")], duration),
    ];
    const name = samplesOf(now, "num_requests_running")[0]?.labels.model_name;
    const about = `${name ? `${name} on ` : ""}${nameOf(server.address)}, read once a second. Latencies are those of the last ${WINDOW} seconds.`;
    this.#element.replaceChildren(
      h("p", { class: "about" }, about),
      h("div", { class: "charts" }, ...charts),
      pages(now),
      totals(now),
      ...engines(now),
    );
  }
}

/** KV pages by where they are. */
function pages(now: Reading): HTMLElement {
  const media = samplesOf(now, "kv_pages_capacity").map(({ labels }) => labels.medium ?? "");
  const of = (name: string, medium: string) =>
    samplesOf(now, name).reduce((total, { labels, value }) => total + (labels.medium === medium ? value : 0), 0);
  const rows = [...new Set(media)].map((medium) =>
    bar(medium, of("kv_pages", medium), of("kv_pages_capacity", medium)),
  );
  const info = samplesOf(now, "cache_config_info");
  const device = info.reduce((total, { labels }) => total + Number(labels.num_gpu_blocks ?? 0), 0);
  // Without gauges of the media, there is what running sequences use.
  if (rows.length === 0) rows.push(bar("device", (mean(now, "kv_cache_usage_perc") ?? 0) * device, device));
  const tokens = info[0]?.labels.block_size;
  const size = tokens === undefined ? "" : ` of ${tokens} tokens`;
  return h("section", { class: "panel" }, h("h3", {}, `KV pages${size}`), ...rows);
}

/** Counts since the start. */
function totals(now: Reading): HTMLElement {
  const asked = sum(now, "prefix_cache_queries_total") ?? 0;
  const found = asked > 0 ? (sum(now, "prefix_cache_hits_total") ?? 0) / asked : null;
  const rows: [name: string, value: string][] = [
    ["Prompt tokens", count(sum(now, "prompt_tokens_total") ?? 0)],
    ["Found in the prefix cache", found === null ? "none yet" : `${(found * 100).toFixed(1)} %`],
    ["Tokens generated", count(sum(now, "generation_tokens_total") ?? 0)],
    ["Sequences ended", count(sum(now, "request_success_total") ?? 0)],
    ["Preemptions", count(sum(now, "num_preemptions_total") ?? 0)],
  ];
  const entries = rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  return h("section", { class: "panel" }, h("h3", {}, "Since the start"), h("dl", {}, ...entries));
}

/** Of several engines, what each does. */
function engines(now: Reading): HTMLElement[] {
  const running = samplesOf(now, "num_requests_running");
  if (running.length < 2) return [];
  const of = (name: string, engine: string | undefined) =>
    samplesOf(now, name).find(({ labels }) => labels.engine === engine)?.value ?? 0;
  const rows = running.map(({ labels: { engine }, value }) => {
    const cells = [
      engine ?? "",
      count(value),
      count(of("num_requests_waiting", engine)),
      `${(of("kv_cache_usage_perc", engine) * 100).toFixed(0)} %`,
    ];
    return h("tr", {}, ...cells.map((cell) => h("td", {}, cell)));
  });
  const head = ["Engine", "Running", "Waiting", "KV cache"].map((name) => h("th", { scope: "col" }, name));
  const table = h("table", {}, h("thead", {}, h("tr", {}, ...head)), h("tbody", {}, ...rows));
  return [h("section", { class: "panel" }, h("h3", {}, "Engines"), table)];
}

const count = (value: number): string =>
  value.toLocaleString("en-US", { maximumFractionDigits: value > 0 && value < 10 ? 1 : 0 });

const duration = (seconds: number): string =>
  seconds < 1 ? `${(seconds * 1000).toFixed(seconds < 0.01 ? 1 : 0)} ms` : `${seconds.toFixed(2)} s`;
