/** The list of conversations, by the days of their last message. */
import { get, h, iconButton } from "./dom.ts";
import type { Summary } from "./store.ts";

export interface HistoryActions {
  menu: (summary: Summary, button: HTMLElement) => void;
}

/** Conversations that the list shows at once; a search finds the others. */
const SHOWN = 300;

const DAY = 24 * 60 * 60 * 1000;

export class HistoryView {
  readonly #list = get("history");
  readonly #search = get<HTMLInputElement>("search");
  readonly #actions: HistoryActions;
  #summaries: Summary[] = [];
  #current: string | null = null;

  constructor(actions: HistoryActions) {
    this.#actions = actions;
    this.#search.addEventListener("input", () => this.#draw());
  }

  /** @param current the conversation that is shown */
  update(summaries: Summary[], current: string | null): void {
    this.#summaries = summaries;
    this.#current = current;
    this.#draw();
  }

  #draw(): void {
    const words = this.#search.value.trim().toLowerCase();
    const found = this.#summaries.filter(({ title }) => title.toLowerCase().includes(words));
    const groups = Map.groupBy(found.slice(0, SHOWN), ({ updated }) => dayOf(updated));
    const sections = [...groups].flatMap(([day, summaries]) => [
      h("h2", {}, day),
      h("ul", {}, ...summaries.map((summary) => this.#row(summary))),
    ]);
    const none = words === "" ? "Your conversations are kept in this browser." : "No title has these words.";
    this.#list.replaceChildren(...(sections.length > 0 ? sections : [h("h2", {}, none)]));
  }

  #row(summary: Summary): HTMLElement {
    const title = summary.title || "Untitled";
    const link = h(
      "a",
      { href: `#/c/${summary.id}`, title, "aria-current": summary.id === this.#current && "page" },
      title,
    );
    const more = iconButton("more", `More about ${title}`, () => this.#actions.menu(summary, more));
    return h("li", {}, link, more);
  }
}

function dayOf(time: number): string {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (time >= midnight) return "Today";
  if (time >= midnight - DAY) return "Yesterday";
  if (time >= midnight - 7 * DAY) return "This week";
  return new Date(time).toLocaleDateString("en-US", { month: "long", year: "numeric" });
}
