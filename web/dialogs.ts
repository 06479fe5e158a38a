/** Dialogs: one at a time, closed by Escape, by its button, or beside it. */
import { h, iconButton } from "./dom.ts";

/** Opens a dialog. @returns what closes it */
export function openDialog(title: string, content: Node[], onClose: () => void = () => {}): () => void {
  const close = () => dialog.close();
  const head = h("header", {}, h("h2", { id: "dialog-title" }, title), iconButton("close", "Close", close));
  const dialog: HTMLDialogElement = h("dialog", { "aria-labelledby": "dialog-title" }, head, ...content);
  dialog.addEventListener("click", (event) => event.target === dialog && close());
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
  });
  document.body.append(dialog);
  dialog.showModal();
  return close;
}

/** A list of things to do. */
export function openMenu(title: string, entries: [label: string, run: () => void, isDanger?: boolean][]): void {
  const buttons = entries.map(([label, run, isDanger]) => {
    const onclick = () => {
      close();
      run();
    };
    return h("button", { type: "button", class: isDanger ? "plain danger" : "plain", onclick }, label);
  });
  const close = openDialog(title, [h("div", { class: "choices" }, ...buttons)]);
}

/** Asks for a line of text. */
export function openPrompt(title: string, label: string, value: string, save: (text: string) => void): void {
  const input = h("input", { value, "aria-label": label });
  const onsubmit = (event: Event) => {
    event.preventDefault();
    close();
    save(input.value);
  };
  const form = h("form", { onsubmit }, input, h("p", {}, h("button", { class: "primary" }, "Save")));
  const close = openDialog(title, [form]);
  input.select();
}

/** Asks whether something that cannot be undone should be done. */
export function openConfirm(question: string, label: string, run: () => void): void {
  openMenu(question, [
    [label, run, true],
    ["Cancel", () => {}],
  ]);
}
