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

const isSideOpen = () => side.classList.contains("open");

function openSide(): void {
  side.classList.add("open");
  menu.setAttribute("aria-expanded", "true");
  get("new").focus();
}

function closeSide(): void {
  side.classList.remove("open");
  menu.setAttribute("aria-expanded", "false");
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
  const list = async () => historyView.update((await store?.list()) ?? [], isServer() ? null : app.conversation.id);
  const historyView = new HistoryView(store !== null, openConversationMenu);
  app.onHistory = () => void list();
  if (store) store.onChange = () => void list();

  const route = async () => {
    closeSide();
    get("chat").hidden = isServer();
    get("settings").hidden = isServer();
    get("server").hidden = !isServer();
    if (isServer()) get("to-server").setAttribute("aria-current", "page");
    else get("to-server").removeAttribute("aria-current");
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
      ["Delete", () => openConfirm("Delete this conversation?", "Delete", () => void app.delete(id)), true],
    ]);
  }

  async function importFile(file: File): Promise<void> {
    try {
      const conversations = await fromFile(file);
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
  get("new").addEventListener("click", newChat);
  menu.addEventListener("click", () => (isSideOpen() ? closeSide() : openSide()));
  // What slides over the conversation goes when the reader has chosen, or turns to something else.
  document.addEventListener("click", ({ target }) => {
    const isChoice = target instanceof Element && target.closest("#side a") !== null;
    if (isChoice || !(side.contains(target as Node) || menu.contains(target as Node))) closeSide();
  });
  side.addEventListener("focusout", ({ relatedTarget }) => {
    if (relatedTarget instanceof Node && !side.contains(relatedTarget) && relatedTarget !== menu) closeSide();
  });

  async function newChat(): Promise<void> {
    if (location.hash !== "#/") history.pushState(null, "", "#/");
    await route();
    app.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog") !== null) return;
    if (event.key === "Escape") {
      if (!isSideOpen()) return app.stop();
      closeSide();
      menu.focus();
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
