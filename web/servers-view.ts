/** The servers that the page talks to, and their keys. */
import { openDialog } from "./dialogs.ts";
import { h, iconButton } from "./dom.ts";
import { addServer, isKept, nameOf, removeServer, type Server, servers, setKey, toAddress } from "./servers.ts";

/** @param onChange called when a server or a key has changed */
export function openServers(onChange: () => void, message = ""): void {
  const problem = h("p", { class: "failure", role: "alert", hidden: message === "" }, message);
  const address = h("input", {
    id: "new-server",
    placeholder: "http://gpu2:5678",
    inputmode: "url",
    autocomplete: "off",
  });
  const add = (event: Event) => {
    event.preventDefault();
    try {
      addServer(toAddress(address.value));
      close();
      onChange();
    } catch (error) {
      problem.textContent = (error as Error).message;
      problem.hidden = false;
    }
  };
  const drop = (server: Server) => {
    removeServer(server.address);
    close();
    onChange();
  };
  const close = openDialog("Servers and keys", [
    problem,
    ...servers().map((server) =>
      serverForm(
        server,
        () => drop(server),
        () => {
          close();
          onChange();
        },
      ),
    ),
    h(
      "form",
      { class: "server", onsubmit: add },
      h("label", { for: "new-server" }, "Another server's address"),
      h("div", { class: "row" }, address, h("button", { class: "plain" }, "Add")),
      h("p", { class: "about" }, `It must let this page in: --allowed-origins ${location.origin}, or a key.`),
    ),
  ]);
}

function serverForm({ address, key }: Server, drop: () => void, saved: () => void): HTMLElement {
  const id = `key-${address}`;
  const input = h("input", { id, type: "password", value: key, placeholder: "none", autocomplete: "off" });
  const keep = h("input", { type: "checkbox", checked: isKept(address) });
  const onsubmit = (event: Event) => {
    event.preventDefault();
    setKey(address, input.value.trim(), keep.checked);
    saved();
  };
  return h(
    "form",
    { class: "server", onsubmit },
    h(
      "div",
      { class: "row" },
      h("label", { for: id }, `Key of ${nameOf(address)}`),
      address !== "" && iconButton("trash", `Remove ${nameOf(address)}`, drop),
    ),
    h("div", { class: "row" }, input, h("button", { class: "plain" }, "Save")),
    h("label", { class: "check" }, keep, "Keep it in this browser, not only in this tab"),
  );
}
