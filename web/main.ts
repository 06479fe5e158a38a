/** The page's beginning: its parts are put together, and its address says what is shown. */
import { App } from "./app.ts";
import { openConfirm, openMenu, openPrompt } from "./dialogs.ts";
import { download, get, h, icon } from "./dom.ts";
import { HistoryView } from "./history-view.ts";
import { ServerView } from "./server-view.ts";
import { addressWithServers, servers } from "./servers.ts";
import { openServers } from "./servers-view.ts";
import { Store, type Summary } from "./store.ts";
import { fromFile, toFile } from "./transfer.ts";

const THEME = "fastgen.theme";

const side = get("side");
const menu = get("menu");

function setTheme(theme: string): void {
  localStorage.setItem(THEME, theme);
  document.documentElement.className = theme;
}

function openSide(isOpen: boolean): void {
  side.classList.toggle("open", isOpen);
  menu.setAttribute("aria-expanded", String(isOpen));
  get("main").inert = isOpen;
  (isOpen ? get("new") : menu).focus();
}

async function start(): Promise<void> {
  for (const button of document.querySelectorAll<HTMLElement>("[data-icon]"))
    button.prepend(icon(button.dataset.icon!));
  document.documentElement.className = localStorage.getItem(THEME) ?? "";
  const wanted = addressWithServers();
  if (wanted !== null) return location.replace(wanted);
  const store = await Store.open().catch(() => null);
  const app = new App(store);
  const serverView = new ServerView(get("server"), () => app.model?.server ?? servers()[0]!);

  const isServer = () => location.hash === "#/server";
  const list = async () => history.update((await store?.list()) ?? [], isServer() ? null : app.conversation.id);
  const history = new HistoryView({ menu: (summary) => openConversationMenu(summary) });
  app.onHistory = () => void list();
  if (store) store.onChange = () => void list();

  const route = async () => {
    if (side.classList.contains("open")) openSide(false);
    get("chat").hidden = isServer();
    get("settings").hidden = isServer();
    get("server").hidden = !isServer();
    get("to-server").toggleAttribute("aria-current", isServer());
    serverView.isShown = isServer();
    if (isServer()) {
      get("title").textContent = "Server";
      return list();
    }
    await app.open(/^#\/c\/([\w-]+)$/.exec(location.hash)?.[1] ?? null);
  };
  addEventListener("hashchange", () => void route());

  const onServers = () => {
    const changed = addressWithServers();
    if (changed !== null) location.replace(changed);
    else void app.loadModels();
  };
  app.onServers = onServers;

  function openConversationMenu({ id, title }: Summary): void {
    openMenu(title || "Untitled", [
      ["Rename", () => openPrompt("Rename", "Title", title, (text) => void app.rename(id, text))],
      ["Export", async () => download("conversation.json", toFile([(await store!.load(id))!]))],
      [
        "Delete",
        () =>
          openConfirm("Delete this conversation?", "Delete", async () => {
            app.forget(id);
            await store!.delete(id);
            await list();
          }),
        true,
      ],
    ]);
  }

  async function importFile(file: File): Promise<void> {
    try {
      const conversations = fromFile(await file.text());
      await store?.save(...conversations);
      await list();
      openMenu(`Imported: ${conversations.length}`, [["Close", () => {}]]);
    } catch (error) {
      openMenu((error as Error).message, [["Close", () => {}]]);
    }
  }

  function chooseFile(): void {
    const input = h("input", { type: "file", accept: ".json,application/json", hidden: true, id: "import" });
    input.addEventListener("change", () => input.files?.[0] && void importFile(input.files[0]));
    document.body.append(input);
    input.click();
    input.remove();
  }

  get("history-menu").addEventListener("click", () =>
    openMenu("History and appearance", [
      ["Export all conversations", async () => download("conversations.json", toFile((await store?.loadAll()) ?? []))],
      ["Import conversations", chooseFile],
      ["Light", () => setTheme("light")],
      ["Dark", () => setTheme("dark")],
      ["As the system is", () => setTheme("")],
    ]),
  );
  get("servers").addEventListener("click", () => openServers(onServers));
  get("settings").addEventListener("click", () => app.openSettings());
  get("skip").addEventListener("click", () => app.focus());
  get("new").addEventListener("click", () => newChat());
  menu.addEventListener("click", () => openSide(!side.classList.contains("open")));
  document.addEventListener("click", (event) => {
    const isOutside = !side.contains(event.target as Node) && !menu.contains(event.target as Node);
    if (side.classList.contains("open") && isOutside) openSide(false);
  });

  function newChat(): void {
    if (location.hash === "#/" || location.hash === "") void route();
    else location.hash = "#/";
    if (side.classList.contains("open")) openSide(false);
    app.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog") !== null) return;
    if (event.key === "Escape") {
      if (side.classList.contains("open")) openSide(false);
      else app.stop();
    }
    // Keys by their places: on some keyboards Alt writes letters of its own.
    const shortcut = event.altKey && !event.ctrlKey && !event.metaKey ? event.code : "";
    const run = { KeyN: newChat, KeyS: () => (location.hash = isServer() ? "#/" : "#/server") }[shortcut];
    if (!run) return;
    event.preventDefault();
    run();
  });

  await route();
  await app.loadModels();
  if (!isServer() && matchMedia("(hover: hover)").matches && !document.querySelector("dialog")) app.focus();
}

void start();
