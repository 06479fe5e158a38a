/** The list of conversations, by the months of their last messages. */
import { get, h, iconButton } from "./dom.ts";
import type { Summary } from "./store.ts";

/** Conversations that the list shows at once; a search finds the others. */
const SHOWN = 300;

export class HistoryView {
  readonly #list = get("history");
  readonly #search = get<HTMLInputElement>("search");
  readonly #isKept: boolean;
  readonly #openMenu: (summary: Summary) => void;
  #summaries: Summary[] = [];
  #current: string | null = null;

  /** @param isKept whether this browser keeps a history */
  constructor(isKept: boolean, openMenu: (summary: Summary) => void) {
    this.#isKept = isKept;
    this.#openMenu = openMenu;
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
    const groups = Map.groupBy(found.slice(0, SHOWN), ({ updated }) => whenOf(updated));
    const sections = [...groups].flatMap(([when, summaries]) => [
      h("h2", {}, when),
      h("ul", {}, ...summaries.map((summary) => this.#row(summary))),
    ]);
    const kept = this.#isKept ? "Your conversations are kept in this browser." : "This browser keeps no history.";
    const none = words === "" ? kept : "No title has these words.";
    this.#list.replaceChildren(...(sections.length > 0 ? sections : [h("h2", {}, none)]));
  }

  #row(summary: Summary): HTMLElement {
    const title = summary.title || "Untitled";
    const link = h(
      "a",
      { href: `#/c/${summary.id}`, title, "aria-current": summary.id === this.#current && "page" },
      title,
    );
    return h(
      "li",
      {},
      link,
      iconButton("more", `More about ${title}`, () => this.#openMenu(summary)),
    );
  }
}

function whenOf(time: number): string {
  if (time >= new Date().setHours(0, 0, 0, 0)) return "Today";
  return new Date(time).toLocaleDateString("en-US", { month: "long", year: "numeric" });
}
